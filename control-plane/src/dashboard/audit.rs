//! `/audit`: who did what, and whether the chain holds.

use prophecy_core::Timestamp;

use super::frame::{Context, Place, page};
use super::markup::{Markup, segment};
use super::{panel, words};

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number.
    pub sequence: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// Its hash, in hexadecimal.
    pub hash: String,
}

/// Whether the chain of hashes holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// All of so many links hold.
    Whole(u64),
    /// This link is the first that does not.
    Broken(i64),
    /// It was not verified for this page.
    Unverified,
}

/// Returns the page.
pub fn audit(context: &Context, rows: &[AuditRow], chain: Chain, older: Option<&str>) -> String {
    let place = Place { title: "Audit", path: "/audit", live: false };
    page(context, &place, |main| {
        main.leaf("h1", &[], "Audit log");
        main.element("p", &[("class", "lead"), ("role", "status")], |lead| match chain {
            Chain::Whole(count) => {
                lead.add(&panel::tag("good", "chain whole"));
                lead.text(&format!(" all {count} entries were verified"));
            }
            Chain::Broken(at) => {
                lead.add(&panel::tag("bad", "chain broken"));
                lead.text(&format!(
                    " entry {at} does not follow from the one before it: the log was changed"
                ));
            }
            Chain::Unverified => lead.add(&panel::tag("unsure", "not verified")),
        });
        if rows.is_empty() {
            panel::empty(main, "Nothing was done yet.");
            return;
        }
        let rows: Vec<_> = rows.iter().map(|row| self::row(context, row)).collect();
        panel::table(
            main,
            "Entries, newest first",
            &[
                ("entry", true),
                ("when", false),
                ("who", false),
                ("did", false),
                ("to", false),
                ("hash", false),
            ],
            &rows,
        );
        let older = older.map(|cursor| format!("/audit?after={}", segment(cursor)));
        panel::pages(main, None, older.as_deref());
    })
}

fn row(context: &Context, row: &AuditRow) -> Vec<Markup> {
    vec![
        Markup::of(&row.sequence.to_string()),
        words::time(context.now, row.at),
        Markup::of(&row.actor),
        Markup::of(&row.action),
        Markup::of(&row.object),
        Markup::with(|m| {
            m.leaf("code", &[("title", &row.hash)], &row.hash.chars().take(12).collect::<String>());
        }),
    ]
}
