//! Edits JSON text in place: values change, everything else stays byte for byte.

/// A scalar of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar<'a> {
    /// The text of a string, without escapes.
    Text(&'a str),
    /// A number as written.
    Number(&'a str),
}

/// What becomes of a key or scalar: `None` keeps it.
pub(crate) trait Edit {
    /// A key below `path`.
    fn key(&mut self, path: &str, key: &str) -> Option<String>;
    /// A scalar at `path`, such as `$.items[*].sku`; a number must become a number.
    fn scalar(&mut self, path: &str, scalar: Scalar<'_>) -> Option<String>;
}

/// The deepest nesting that is followed.
const DEPTH_LIMIT: usize = 128;

struct Editor<'a, E> {
    text: &'a str,
    at: usize,
    path: String,
    depth: usize,
    output: String,
    edit: &'a mut E,
}

/// Returns the edited document, or `None` if `text` is not JSON.
pub(crate) fn edit<E: Edit>(text: &str, edit: &mut E) -> Option<String> {
    let output = String::with_capacity(text.len());
    let mut editor = Editor { text, at: 0, path: "$".to_owned(), depth: 0, output, edit };
    editor.space();
    editor.value()?;
    editor.space();
    (editor.at == text.len()).then_some(editor.output)
}

// === impl Editor ===

impl<E: Edit> Editor<'_, E> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn keep(&mut self, count: usize) -> Option<()> {
        let piece = self.text.get(self.at..self.at + count)?;
        self.output.push_str(piece);
        self.at += count;
        Some(())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.output.push(self.text.as_bytes()[self.at] as char);
            self.at += 1;
        }
    }

    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => {
                let (text, raw) = self.string()?;
                let replaced = self.edit.scalar(&self.path, Scalar::Text(&text));
                self.push_string(replaced, raw);
                Some(())
            }
            b't' | b'n'
                if self.text[self.at..].starts_with("true")
                    || self.text[self.at..].starts_with("null") =>
            {
                self.keep(4)
            }
            b'f' if self.text[self.at..].starts_with("false") => self.keep(5),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn object(&mut self) -> Option<()> {
        self.open()?;
        if self.peek()? == b'}' {
            return self.close();
        }
        loop {
            if self.peek()? != b'"' {
                return None;
            }
            let (key, raw) = self.string()?;
            let replaced = self.edit.key(&self.path, &key);
            let outer = self.path.len();
            self.path.push('.');
            self.path.push_str(replaced.as_deref().unwrap_or(&key));
            self.push_string(replaced, raw);
            self.space();
            if self.peek()? != b':' {
                return None;
            }
            self.keep(1)?;
            self.space();
            self.value()?;
            self.path.truncate(outer);
            self.space();
            match self.peek()? {
                b',' => self.keep(1)?,
                b'}' => return self.close(),
                _ => return None,
            }
            self.space();
        }
    }

    fn array(&mut self) -> Option<()> {
        self.open()?;
        if self.peek()? == b']' {
            return self.close();
        }
        let outer = self.path.len();
        self.path.push_str("[*]");
        loop {
            self.value()?;
            self.space();
            match self.peek()? {
                b',' => self.keep(1)?,
                b']' => {
                    self.path.truncate(outer);
                    return self.close();
                }
                _ => return None,
            }
            self.space();
        }
    }

    fn open(&mut self) -> Option<()> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return None;
        }
        self.keep(1)?;
        self.space();
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        self.depth -= 1;
        self.keep(1)
    }

    /// Reads a string and returns its text and its raw form with quotes.
    fn string(&mut self) -> Option<(String, String)> {
        let rest = &self.text[self.at..];
        let mut escaped = false;
        for (index, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let raw = rest.get(..=index)?.to_owned();
                    self.at += index + 1;
                    return Some((serde_json::from_str(&raw).ok()?, raw));
                }
                _ => {}
            }
        }
        None
    }

    fn push_string(&mut self, replaced: Option<String>, raw: String) {
        let written = match replaced {
            Some(text) => serde_json::to_string(&text).expect("strings serialize"),
            None => raw,
        };
        self.output.push_str(&written);
    }

    fn number(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let part = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
        let end = rest.bytes().position(|byte| !part(byte)).unwrap_or(rest.len());
        let written = &rest[..end];
        serde_json::from_str::<serde_json::Number>(written).ok()?;
        match self.edit.scalar(&self.path, Scalar::Number(written)) {
            Some(replaced) => self.output.push_str(&replaced),
            None => self.output.push_str(written),
        }
        self.at += end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is shown and marks every text.
    #[derive(Default)]
    struct Marker(Vec<String>);

    impl Edit for Marker {
        fn key(&mut self, _path: &str, key: &str) -> Option<String> {
            (key == "secret").then(|| "hidden".to_owned())
        }

        fn scalar(&mut self, path: &str, scalar: Scalar<'_>) -> Option<String> {
            self.0.push(path.to_owned());
            matches!(scalar, Scalar::Text(_)).then(|| "x\"".to_owned())
        }
    }

    #[test]
    fn changes_values_and_keeps_every_other_byte() {
        let text = " { \"a\" : [ 1.50, {\"b\":\"\\u00e9\"} ] ,\n\"secret\":null, \"c\":-1e-2 } ";
        let mut marker = Marker::default();
        let edited = edit(text, &mut marker).expect("it is JSON");
        let expected = " { \"a\" : [ 1.50, {\"b\":\"x\\\"\"} ] ,\n\"hidden\":null, \"c\":-1e-2 } ";
        assert_eq!(edited, expected);
        assert_eq!(marker.0, ["$.a[*]", "$.a[*].b", "$.c"]);
    }

    #[test]
    fn refuses_what_is_not_json() {
        let texts =
            ["", "{", "{\"a\":1,}", "[1,]", "[1 2]", "{\"a\"}", "\"a", "01", "nul", "truth", "1 2"];
        for text in texts {
            assert_eq!(edit(text, &mut Marker::default()), None, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_nested_too_deeply() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(edit(&nested(DEPTH_LIMIT), &mut Marker::default()).is_some());
        assert_eq!(edit(&nested(DEPTH_LIMIT + 1), &mut Marker::default()), None);
        assert_eq!(edit(&"[".repeat(100_000), &mut Marker::default()), None);
    }
}
