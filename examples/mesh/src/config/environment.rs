//! Values from the environment: `${NAME}` and `${NAME:-default}` in the text of a configuration.

use super::ReadConfigError;

/// Replaces each reference by the variable's value, or by its default.
///
/// # Errors
///
/// [`ReadConfigError::VariableUnset`] and [`ReadConfigError::VariableMalformed`].
pub(super) fn fill_in(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ReadConfigError> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        filled.push_str(before);
        let line = 1 + text[..text.len() - after.len()].matches('\n').count();
        let (reference, after) =
            after.split_once('}').ok_or(ReadConfigError::VariableMalformed { line })?;
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            return Err(ReadConfigError::VariableMalformed { line });
        }
        // As in a shell, an empty variable takes the default too.
        let value = variable(name).filter(|value| default.is_none() || !value.is_empty());
        match (&value, default) {
            (Some(value), _) => filled.push_str(value),
            (None, Some(default)) => filled.push_str(default),
            (None, None) => {
                return Err(ReadConfigError::VariableUnset { name: name.to_owned() });
            }
        }
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let variable = |name: &str| match name {
            "PORT" => Some("80".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        fill_in(text, &variable).map_err(|error| error.to_string())
    }

    #[test]
    fn replaces_what_is_set_and_falls_back_on_the_default() {
        let check = |text: &str, expected: &str| assert_eq!(fill(text).as_deref(), Ok(expected));
        check("port: ${PORT}", "port: 80");
        check("${PORT:-1}${NONE:-2}${NONE:-}", "802");
        check("${EMPTY}${EMPTY:-full}", "full");
        check("costs $5, {id} and {{id}}", "costs $5, {id} and {{id}}");
    }

    #[test]
    fn names_the_variable_or_the_line() {
        assert!(fill("a: ${NONE}").is_err_and(|error| error.contains("`${NONE}`")));
        assert!(fill("a: 1\nb: ${PORT").is_err_and(|error| error.contains("line 2")));
        assert!(fill("\n\n${a b}").is_err_and(|error| error.contains("line 3")));
    }
}
