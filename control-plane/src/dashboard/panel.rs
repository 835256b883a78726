//! Pieces that pages share: tiles, tables, figures with their data, pages of a list.

use prophecy_predictor::Verdict;
use prophecy_predictor::accuracy::Estimate;

use super::markup::Markup;
use super::words;

/// A column's name, and whether it holds numbers.
pub(super) type Column = (&'static str, bool);

/// Adds a list of tiles: value, what it is, its uncertainty.
pub(super) fn tiles(into: &mut Markup, tiles: &[(String, &str, String)]) {
    into.element("ul", &[("class", "tiles")], |list| {
        for (value, name, range) in tiles {
            list.element("li", &[("class", "tile")], |tile| {
                tile.leaf("strong", &[], value);
                tile.leaf("span", &[], name);
                tile.leaf("small", &[], range);
            });
        }
    });
}

/// Adds a table; the first cell of a row is its name. Wide tables scroll, by keyboard too.
pub(super) fn table(into: &mut Markup, caption: &str, columns: &[Column], rows: &[Vec<Markup>]) {
    let attributes =
        [("class", "scroll"), ("role", "region"), ("aria-label", caption), ("tabindex", "0")];
    into.element("div", &attributes, |scroll| {
        scroll.element("table", &[], |table| {
            table.leaf("caption", &[], caption);
            table.element("thead", &[], |head| table_head(head, columns));
            table.element("tbody", &[], |body| {
                rows.iter().for_each(|row| table_row(body, columns, row));
            });
        });
    });
}

fn table_head(head: &mut Markup, columns: &[Column]) {
    head.element("tr", &[], |row| {
        for (name, number) in columns {
            let class = if *number { "number" } else { "text" };
            row.leaf("th", &[("scope", "col"), ("class", class)], name);
        }
    });
}

fn table_row(body: &mut Markup, columns: &[Column], cells: &[Markup]) {
    body.element("tr", &[], |row| {
        for (index, (cell, (_, number))) in cells.iter().zip(columns).enumerate() {
            let class = ("class", if *number { "number" } else { "text" });
            if index == 0 {
                row.element("th", &[("scope", "row"), class], |th| th.add(cell));
            } else {
                row.element("td", &[class], |td| td.add(cell));
            }
        }
    });
}

/// A picture, its words, and the same as a table.
pub(super) struct Figure<'a> {
    pub(super) title: &'a str,
    pub(super) picture: Markup,
    pub(super) words: &'a str,
    pub(super) columns: &'a [Column],
    pub(super) rows: Vec<Vec<Markup>>,
}

/// Adds a picture with its words and its data.
pub(super) fn figure(into: &mut Markup, figure: &Figure<'_>) {
    into.element("figure", &[], |it| {
        it.leaf("h3", &[], figure.title);
        it.add(&figure.picture);
        it.leaf("figcaption", &[], figure.words);
        it.element("details", &[], |details| {
            details.leaf("summary", &[], "As a table");
            table(details, figure.title, figure.columns, &figure.rows);
        });
    });
}

/// Makes a verdict: a word in a frame, colored beside.
pub(super) fn badge(verdict: Verdict) -> Markup {
    tag(words::tone(verdict), words::verdict(verdict))
}

/// Makes a word in a frame.
pub(super) fn tag(tone: &str, words: &str) -> Markup {
    Markup::with(|m| m.leaf("span", &[("class", &format!("badge {tone}"))], words))
}

/// Makes a link.
pub(super) fn link(address: &str, text: &str) -> Markup {
    Markup::with(|m| m.leaf("a", &[("href", address)], text))
}

/// Writes an estimate with the digits that its interval leaves.
pub(super) fn estimate(estimate: Estimate) -> Markup {
    Markup::of(&estimate_words(estimate))
}

/// Writes an estimate and its interval.
pub(super) fn estimate_words(estimate: Estimate) -> String {
    let Some(value) = estimate.value else { return "–".to_owned() };
    match (estimate.lo, estimate.hi) {
        (Some(lo), Some(hi)) => {
            let spread = (hi - lo) / 2.0;
            let number = |it| words::rounded(it, spread);
            format!("{} ({} to {})", number(value), number(lo), number(hi))
        }
        _ => words::rounded(value, 0.0),
    }
}

/// Adds a drop-down with its label; nothing chosen is "all".
pub(super) fn choice(
    into: &mut Markup,
    label: &str,
    name: &str,
    options: &[(String, String)],
    chosen: Option<&str>,
) {
    into.element("label", &[], |it| {
        it.leaf("span", &[], label);
        it.element("select", &[("name", name)], |select| {
            select.leaf("option", &[("value", "")], "all");
            for (value, words) in options {
                if chosen == Some(value.as_str()) {
                    select.leaf("option", &[("value", value), ("selected", "selected")], words);
                } else {
                    select.leaf("option", &[("value", value)], words);
                }
            }
        });
    });
}

/// Adds a field with its label.
pub(super) fn field(into: &mut Markup, label: &str, attributes: &[(&'static str, &str)]) {
    into.element("label", &[], |it| {
        it.leaf("span", &[], label);
        it.void("input", attributes);
    });
}

/// Adds a card that says what is missing; what stands between backquotes is something to type.
pub(super) fn empty(into: &mut Markup, words: &str) {
    into.element("p", &[("class", "card empty")], |card| typed(card, words));
}

/// Adds a sentence with what is to be typed in it.
pub(super) fn typed(into: &mut Markup, words: &str) {
    for (index, part) in words.split('`').enumerate() {
        if index % 2 == 1 {
            into.leaf("code", &[], part);
        } else {
            into.text(part);
        }
    }
}

/// Adds links to earlier and later pages of a list, where there are any.
pub(super) fn pages(into: &mut Markup, newer: Option<&str>, older: Option<&str>) {
    if newer.is_none() && older.is_none() {
        return;
    }
    into.element("nav", &[("class", "pages"), ("aria-label", "Pages of this list")], |nav| {
        for (address, rel, words) in [(newer, "prev", "Newer"), (older, "next", "Older")] {
            if let Some(address) = address {
                nav.leaf("a", &[("href", address), ("rel", rel)], words);
            }
        }
    });
}
