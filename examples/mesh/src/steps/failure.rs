//! Deciding which requests fail.

use prophecy_core::random::fnv1a;
use serde_json::Value;

use crate::config::{Condition, Fail};
use crate::scope::Scope;
use crate::template::text_of;

/// Says whether a failure applies to a request.
pub(super) fn applies(fail: &Fail, scope: &mut Scope) -> bool {
    let is_kind = fail.when.as_ref().is_none_or(|condition| holds(condition, scope));
    is_kind && is_among(fail, scope)
}

/// Ends the process as a defect would: at once, and with EX_SOFTWARE of sysexits(3).
#[expect(clippy::exit, reason = "that the whole process ends is what is asked for")]
pub(super) fn crash() -> ! {
    std::process::exit(70)
}

fn is_among(fail: &Fail, scope: &mut Scope) -> bool {
    let Some(share) = fail.share else { return true };
    let place = match &fail.by {
        Some(by) => {
            let text = by.text(scope);
            scope.data_seed().stream(0, fnv1a(&text), "failure").uniform()
        }
        None => scope.luck().uniform(),
    };
    place < share.0.get()
}

fn holds(condition: &Condition, scope: &mut Scope) -> bool {
    let value = condition.value.value(scope);
    let text = text_of(&value);
    let Condition { value: _, equals, prefix, modulo, missing } = condition;
    equals.as_ref().is_none_or(|equals| value == *equals || text == text_of(equals))
        && prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix))
        && modulo.is_none_or(|modulo| number_of(&text) % modulo.divisor == modulo.remainder)
        && missing.is_none_or(|missing| missing == is_missing(&value))
}

fn number_of(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| fnv1a(text))
}

fn is_missing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fail(yaml: &str) -> Fail {
        serde_saphyr::from_str(yaml).expect(yaml)
    }

    #[test]
    fn fails_for_a_kind_of_input() {
        let check = |yaml: &str, value: Value, expected: bool| {
            let mut scope = Scope::for_tests(7);
            scope.bind("x", value);
            let fail = fail(&format!("when: {{ value: '{{x}}', {yaml} }}"));
            assert_eq!(applies(&fail, &mut scope), expected, "{yaml}");
        };
        check("equals: 0", json!(0), true);
        check("equals: 0", json!("0"), true);
        check("equals: 0", json!(1), false);
        check("prefix: SKU", json!("SKU-1"), true);
        check("prefix: SKU", json!("sku-1"), false);
        check("modulo: { divisor: 30, remainder: 1 }", json!("61"), true);
        check("modulo: { divisor: 30 }", json!("61"), false);
        check("missing: true", Value::Null, true);
        check("missing: true", json!(0), false);
        check("missing: false, prefix: a", json!("a"), true);
        check("missing: false, prefix: b", json!("a"), false);
    }

    #[test]
    fn fails_for_a_share_of_inputs_and_always_for_the_same_ones() {
        let fail = fail("{ share: 10%, by: '{x}' }");
        let outcomes = |luck: u64| -> Vec<bool> {
            let mut scope = Scope::for_tests(luck);
            let mut scope =
                Scope::new(scope.trace().clone(), scope.luck().clone(), prophecy_core::Seed(7));
            let inputs = (0..2_000).map(|x| {
                scope.bind("x", json!(x));
                applies(&fail, &mut scope)
            });
            inputs.collect()
        };
        assert_eq!(outcomes(1), outcomes(2));
        let count = outcomes(1).into_iter().filter(|&fails| fails).count();
        // 200 expected, with a standard deviation of 13.4; four of them are 54.
        assert!((146..=254).contains(&count), "{count}");
    }

    #[test]
    fn fails_for_a_share_of_requests_and_for_all_without_one() {
        let mut scope = Scope::for_tests(7);
        let some = fail("share: 0.25");
        let count = (0..2_000).filter(|_| applies(&some, &mut scope)).count();
        // 500 expected, with a standard deviation of 19.4; four of them are 78.
        assert!((422..=578).contains(&count), "{count}");
        assert!(applies(&fail("status: 503"), &mut scope));
        assert!(!applies(&fail("share: 0"), &mut scope));
    }
}
