//! Markup that cannot hold unescaped text.
//!
//! Only names fixed at compile time become tags and attributes; every text and every attribute's
//! value passes [`escape`].

/// A piece of well-formed markup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markup(String);

/// Attributes: names that are ours, values that need not be.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

// === impl Markup ===

impl Markup {
    /// Makes a piece of one text.
    pub fn of(text: &str) -> Self {
        Self(escape(text))
    }

    /// Makes a piece with a closure.
    pub fn with(fill: impl FnOnce(&mut Self)) -> Self {
        let mut piece = Self::default();
        fill(&mut piece);
        piece
    }

    /// Adds markup that is fixed at compile time.
    pub fn fixed(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(&escape(text));
    }

    /// Adds a piece.
    pub fn add(&mut self, piece: &Self) {
        self.0.push_str(&piece.0);
    }

    /// Adds an element with what the closure puts into it.
    pub fn element(
        &mut self,
        tag: &'static str,
        attributes: Attributes<'_>,
        inner: impl FnOnce(&mut Self),
    ) {
        self.open(tag, attributes);
        self.0.push('>');
        inner(self);
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// Adds an element that holds a text.
    pub fn leaf(&mut self, tag: &'static str, attributes: Attributes<'_>, text: &str) {
        self.element(tag, attributes, |inner| inner.text(text));
    }

    /// Adds an element that holds nothing.
    pub fn void(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.open(tag, attributes);
        self.0.push_str("/>");
    }

    /// Returns whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the markup as text.
    pub fn into_string(self) -> String {
        self.0
    }

    fn open(&mut self, tag: &'static str, attributes: Attributes<'_>) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            self.0.push_str(&escape(value));
            self.0.push('"');
        }
    }
}

/// Escapes a text for an element or a quoted attribute. Control characters are dropped, and so are
/// the marks that reorder what is read, with which a name could pose as another.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            _ if c.is_control() => {}
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Writes a text as one segment of a path, or one value of a query.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // A dot stays, unless the segment is all dots and would climb.
            b'.' if text.bytes().any(|other| other != b'.') => encoded.push('.'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
