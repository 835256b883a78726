//! Names with wildcards.

/// Returns whether `name` fits `pattern`, where `*` stands for any text and `?` for one character.
///
/// The time is bounded by the product of the lengths: only the last `*` is ever tried again.
pub(super) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at_pattern, mut at_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at_name < name.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[at_name] => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => match star {
                Some((star_pattern, star_name)) => {
                    star = Some((star_pattern, star_name + 1));
                    at_pattern = star_pattern + 1;
                    at_name = star_name + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at_pattern..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn wildcards_stand_for_what_they_should() {
        let check = |pattern, name, expected| {
            assert_eq!(fits(pattern, name), expected, "{pattern} on {name}");
        };
        check("*", "", true);
        check("*", "checkout", true);
        check("", "checkout", false);
        check("checkout", "checkout", true);
        check("checkout", "checkouts", false);
        check("check*", "checkout", true);
        check("*out", "checkout", true);
        check("c*o?t", "checkout", true);
        check("c*x*t", "checkout", false);
        check("prod-?", "prod-1", true);
        check("prod-?", "prod-", false);
        check("*a*a*a*b", &"a".repeat(500), false);
    }
}
