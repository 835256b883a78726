//! Compares the answers of arms, field by field, against how much two baselines differ.
//!
//! Ids and times differ between any two answers. A difference counts only where the candidate
//! differs from the baseline significantly more often than the second baseline does. Values are
//! compared by digests, and never written.

use std::collections::BTreeMap;

use prophecy_core::proportion::{fisher_greater, wilson_95};
use prophecy_core::route::route_of;
use prophecy_datasets::run::{Difference, DifferenceKind};
use serde_json::Value;

use crate::replay::{Answer, PlannedRequest, Reply};

/// The level of the test of one field; there may be hundreds of fields.
const LEVEL: f64 = 1e-4;

/// An answer reduced to what is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digest {
    /// Zero without an answer.
    status: u16,
    /// Type and digest by field path; a body that is not JSON is one field.
    fields: BTreeMap<String, (&'static str, blake3::Hash)>,
}

/// Differences by route, field and kind: of the baselines among themselves, and of the candidate.
type Counts = BTreeMap<(String, String, DifferenceKind), [u64; 2]>;

/// Returns how the third of three targets differs from the first, beyond how the second does.
///
/// `replies` must be ordered by request, then by target.
pub fn differences(plan: &[PlannedRequest], replies: &[Reply]) -> Vec<Difference> {
    let mut counts = Counts::new();
    let mut compared: BTreeMap<String, u64> = BTreeMap::new();
    for arms in replies.chunk_by(|a, b| a.request == b.request) {
        let [baseline, again, candidate] = arms else { continue };
        let Some(planned) = plan.get(baseline.request) else { continue };
        let path = planned.path_and_query.split('?').next().unwrap_or_default();
        let route = route_of(&planned.method, path);
        *compared.entry(route.clone()).or_default() += 1;
        let [baseline, again, candidate] =
            [baseline, again, candidate].map(|reply| digest(&reply.answer));
        for (column, other) in [again, candidate].iter().enumerate() {
            for (field, kind) in compare(&baseline, other) {
                counts.entry((route.clone(), field, kind)).or_default()[column] += 1;
            }
        }
    }
    let mut found: Vec<Difference> = counts
        .into_iter()
        .filter_map(|((route, field, kind), [noise, count])| {
            let of = compared[&route];
            let significant = fisher_greater(count, of, noise, of) < LEVEL;
            significant.then(|| Difference {
                route,
                field,
                kind,
                count,
                of,
                interval: wilson_95(count, of),
                noise_share: noise as f64 / of as f64,
            })
        })
        .collect();
    found.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.field.cmp(&b.field)));
    found
}

fn compare(baseline: &Digest, other: &Digest) -> Vec<(String, DifferenceKind)> {
    if baseline.status != other.status {
        // Another status mostly has another body; telling both says one thing twice.
        let kind = DifferenceKind::Status { from: baseline.status, to: other.status };
        return vec![("status".to_owned(), kind)];
    }
    let mut found = Vec::new();
    for (field, (kind, value)) in &baseline.fields {
        match other.fields.get(field) {
            None => found.push((field.clone(), DifferenceKind::Missing)),
            Some((other_kind, _)) if other_kind != kind => {
                found.push((field.clone(), DifferenceKind::Type));
            }
            Some((_, other_value)) if other_value != value => {
                let body = field == "body";
                let kind = if body { DifferenceKind::Body } else { DifferenceKind::Value };
                found.push((field.clone(), kind));
            }
            Some(_) => {}
        }
    }
    let extra = other.fields.keys().filter(|field| !baseline.fields.contains_key(*field));
    found.extend(extra.map(|field| (field.clone(), DifferenceKind::Extra)));
    found
}

fn digest(answer: &Result<Answer, &'static str>) -> Digest {
    let Ok(answer) = answer else { return Digest { status: 0, fields: BTreeMap::new() } };
    let mut fields = BTreeMap::new();
    let json = answer.content_type.as_deref().is_some_and(|kind| kind.contains("json"));
    match json.then(|| serde_json::from_slice::<Value>(&answer.body)) {
        Some(Ok(value)) => flatten("$", &value, &mut fields),
        _ => {
            fields.insert("body".to_owned(), ("bytes", blake3::hash(&answer.body)));
        }
    }
    Digest { status: answer.status, fields }
}

/// Collects scalars by path; the elements of an array share one path and one digest.
fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, (&'static str, blake3::Hash)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                // A key with digits names one thing of many, like a path segment would.
                let key = if prophecy_core::route::is_identifier(key) { "{id}" } else { key };
                flatten(&format!("{path}.{key}"), value, fields);
            }
        }
        Value::Array(elements) => {
            add(fields, format!("{path}.length"), "number", elements.len().to_string().as_bytes());
            for element in elements {
                flatten(&format!("{path}[*]"), element, fields);
            }
        }
        Value::String(text) => add(fields, path.to_owned(), "string", text.as_bytes()),
        Value::Number(number) => {
            add(fields, path.to_owned(), "number", number.to_string().as_bytes());
        }
        Value::Bool(value) => add(fields, path.to_owned(), "boolean", &[u8::from(*value)]),
        Value::Null => add(fields, path.to_owned(), "null", b""),
    }
}

fn add(
    fields: &mut BTreeMap<String, (&'static str, blake3::Hash)>,
    path: String,
    kind: &'static str,
    value: &[u8],
) {
    let hash = blake3::hash(value);
    fields
        .entry(path)
        .and_modify(|(known, digest)| {
            if *known != kind {
                *known = "mixed";
            }
            let both = [digest.as_bytes().as_slice(), hash.as_bytes()].concat();
            *digest = blake3::hash(&both);
        })
        .or_insert((kind, hash));
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn reply(request: usize, target: usize, status: u16, body: String) -> Reply {
        let now = Instant::now();
        let bytes = body.len() as u64;
        let answer = Answer {
            status,
            content_type: Some("application/json".to_owned()),
            body: body.into(),
            bytes,
            first_byte_at: now,
            ended_at: now,
        };
        Reply { target, request, intended_at: now, sent_at: Some(now), answer: Ok(answer) }
    }

    fn planned(exchange_id: u64) -> PlannedRequest {
        PlannedRequest {
            exchange_id,
            offset_nanos: exchange_id,
            session: 0,
            connection: 0,
            method: "GET".to_owned(),
            path_and_query: format!("/items/{exchange_id}?page=2"),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Ids differ everywhere, one answer in twenty fails, and a field changes its type.
    #[test]
    fn tells_a_change_from_noise() {
        let plan: Vec<_> = (0..400).map(planned).collect();
        let body = |request: usize, target: usize, price: &str| {
            format!(r#"{{"id": "{request}-{target}", "price": {price}, "tags": ["a", "b"]}}"#)
        };
        let mut replies = Vec::new();
        for request in 0..400 {
            replies.push(reply(request, 0, 200, body(request, 0, "7")));
            replies.push(reply(request, 1, 200, body(request, 1, "7")));
            let status = if request % 20 == 0 { 500 } else { 200 };
            replies.push(reply(request, 2, status, body(request, 2, "\"7\"")));
        }
        let found = differences(&plan, &replies);
        let told: Vec<_> =
            found.iter().map(|d| (d.field.as_str(), d.kind.clone(), d.count)).collect();
        let status = DifferenceKind::Status { from: 200, to: 500 };
        assert_eq!(told, [("$.price", DifferenceKind::Type, 380), ("status", status, 20)]);
        assert_eq!(found[0].route, "GET /items/{id}");
    }

    #[test]
    fn finds_nothing_between_equal_builds() {
        let plan: Vec<_> = (0..50).map(planned).collect();
        let replies: Vec<_> = (0..50)
            .flat_map(|request| {
                (0..3).map(move |target| {
                    reply(request, target, 200, format!("[{request}, {target}]"))
                })
            })
            .collect();
        assert_eq!(differences(&plan, &replies), []);
    }
}
