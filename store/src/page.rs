//! Walking through many records, some at a time.

use crate::statement::Statement;

/// Which records come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The last made first.
    #[default]
    NewestFirst,
    /// The first made first.
    OldestFirst,
}

/// Which part of a list is wanted.
///
/// A page begins after a record, not at a count, so that records added or deleted meanwhile
/// neither repeat nor hide another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The id of the last record already seen.
    pub after: Option<String>,
    /// The most records to return; at most [`Page::LIMIT`].
    pub limit: u32,
    /// The direction.
    pub order: Order,
}

// === impl Page ===

impl Page {
    /// The most records of one page.
    pub const LIMIT: u32 = 10_000;

    /// The newest `limit` records.
    pub fn newest(limit: u32) -> Self {
        Self { after: None, limit, order: Order::NewestFirst }
    }

    /// The oldest `limit` records.
    pub fn oldest(limit: u32) -> Self {
        Self { after: None, limit, order: Order::OldestFirst }
    }

    /// The page that follows the record with this id.
    #[must_use]
    pub fn after(self, id: impl Into<String>) -> Self {
        Self { after: Some(id.into()), ..self }
    }

    /// Ends a statement that has a `WHERE`: from where on, in which order, how many.
    pub(crate) fn end(&self, statement: Statement, key: &str) -> Statement {
        let (beyond, direction) = match self.order {
            Order::NewestFirst => ("<", "DESC"),
            Order::OldestFirst => (">", "ASC"),
        };
        statement
            .filter(&format!("AND {key} {beyond}"), self.after.as_ref())
            .push(&format!(" ORDER BY {key} {direction}"))
            .filter("LIMIT", Some(self.limit.min(Self::LIMIT)))
    }
}
