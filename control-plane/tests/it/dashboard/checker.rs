//! A small checker of pages: well-formed, labelled, and sufficient to themselves.

use std::collections::BTreeSet;

/// A tag as it stands on a page.
struct Tag {
    name: String,
    closing: bool,
    empty: bool,
    attributes: Vec<(String, String)>,
}

// === impl Tag ===

impl Tag {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Takes a page apart; what does not parse ends the list with an error.
fn tags(page: &str) -> Result<Vec<Tag>, String> {
    let mut tags = Vec::new();
    let mut rest = page.strip_prefix("<!doctype html>\n").ok_or("no doctype")?;
    while let Some(start) = rest.find('<') {
        if rest[..start].contains('>') && !rest[..start].contains("=>") {
            return Err(format!("a loose > before {:.40}", &rest[start..]));
        }
        rest = &rest[start + 1..];
        let closing = rest.starts_with('/');
        rest = rest.trim_start_matches('/');
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).ok_or("a tag without end")?;
        let mut tag =
            Tag { name: rest[..end].to_owned(), closing, empty: false, attributes: Vec::new() };
        if tag.name.is_empty() {
            return Err("a < that opens no tag".to_owned());
        }
        rest = &rest[end..];
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>") {
                (tag.empty, rest) = (true, after);
                break;
            }
            if let Some(after) = rest.strip_prefix('>') {
                rest = after;
                break;
            }
            let (name, after) = rest.split_once("=\"").ok_or("an attribute without value")?;
            let (value, after) = after.split_once('"').ok_or("a value without end")?;
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') || value.contains('<') {
                return Err(format!("a strange attribute {name}"));
            }
            tag.attributes.push((name.to_owned(), value.to_owned()));
            rest = after;
        }
        if !tag.closing && matches!(tag.name.as_str(), "style" | "script") {
            rest = &rest[rest.find(&format!("</{}", tag.name)).ok_or("raw text without end")?..];
        }
        tags.push(tag);
    }
    Ok(tags)
}

/// Returns the tags of a page with the names of their attributes: what no text may change.
pub(crate) fn skeleton(page: &str) -> Vec<String> {
    let tags = tags(page).expect("the page parses");
    let names =
        |tag: &Tag| tag.attributes.iter().map(|it| it.0.clone()).collect::<Vec<_>>().join(" ");
    tags.iter()
        .map(|tag| format!("{}{} {}", if tag.closing { "/" } else { "" }, tag.name, names(tag)))
        .collect()
}

/// Returns what is wrong with a page.
pub(crate) fn problems(page: &str) -> Vec<String> {
    let tags = match tags(page) {
        Ok(tags) => tags,
        Err(problem) => return vec![problem],
    };
    let mut problems = Vec::new();
    nesting(&tags, &mut problems);
    structure(&tags, &mut problems);
    safety(&tags, &mut problems);
    problems
}

fn nesting(tags: &[Tag], problems: &mut Vec<String>) {
    let mut open: Vec<&str> = Vec::new();
    for tag in tags.iter().filter(|tag| !tag.empty) {
        if !tag.closing {
            open.push(&tag.name);
        } else if open.pop() != Some(tag.name.as_str()) {
            problems.push(format!("</{}> closes another element", tag.name));
            return;
        }
    }
    if !open.is_empty() {
        problems.push(format!("nothing closes {open:?}"));
    }
}

fn structure(tags: &[Tag], problems: &mut Vec<String>) {
    let opened = || tags.iter().filter(|tag| !tag.closing);
    for name in ["main", "h1", "title", "header", "footer"] {
        let count = opened().filter(|tag| tag.name == name).count();
        if count != 1 {
            problems.push(format!("{count} elements {name}"));
        }
    }
    let levels = opened().filter_map(|tag| tag.name.strip_prefix('h')?.parse::<u32>().ok());
    let mut before = 0;
    for level in levels {
        if level > before + 1 {
            problems.push(format!("heading {level} after {before}"));
        }
        before = level;
    }
    let mut ids = BTreeSet::new();
    for id in opened().filter_map(|tag| tag.get("id")) {
        if !ids.insert(id) {
            problems.push(format!("two elements have the id {id}"));
        }
    }
    let mut labels = 0_u32;
    for tag in tags {
        match tag.name.as_str() {
            "label" if tag.closing => labels -= 1,
            "label" => labels += 1,
            "input" | "select" | "textarea"
                if !tag.closing
                    && labels == 0
                    && tag.get("type") != Some("hidden")
                    && tag.get("hidden").is_none() =>
            {
                problems.push(format!("no label for {:?}", tag.get("name")));
            }
            "svg" if !tag.closing && tag.get("aria-label").is_none_or(str::is_empty) => {
                problems.push("a picture without words".to_owned());
            }
            _ => {}
        }
    }
    let tables = opened().filter(|tag| tag.name == "table").count();
    if opened().filter(|tag| tag.name == "caption").count() != tables {
        problems.push("a table without caption".to_owned());
    }
}

fn safety(tags: &[Tag], problems: &mut Vec<String>) {
    for tag in tags.iter().filter(|tag| !tag.closing) {
        if matches!(tag.name.as_str(), "style" | "script") && tag.get("nonce") != Some("n0nce") {
            problems.push(format!("{} without nonce", tag.name));
        }
        for (name, value) in &tag.attributes {
            let address = matches!(name.as_str(), "href" | "src" | "action" | "data-events");
            let ours = (value.starts_with('/') && !value.starts_with("//"))
                || matches!(value.as_str(), "#main" | "data:,");
            if address && !ours {
                problems.push(format!("{name} leads outside: {value}"));
            }
            if name.starts_with("on") {
                problems.push(format!("an inline handler {name}"));
            }
            if name == "style" {
                problems.push("a style attribute".to_owned());
            }
        }
    }
}
