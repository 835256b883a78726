//! The OpenAPI 3.1 document, made from the table of operations.

use serde_json::{Map, Value, json};

use crate::policy::{Need, Operation, RULES, Rule};

/// Returns the document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for rule in RULES {
        let item = paths.entry(rule.path).or_insert_with(|| json!({}));
        item[rule.method.to_lowercase()] = operation(rule);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Prophecy", "version": env!("CARGO_PKG_VERSION") },
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas(),
        },
    })
}

fn operation(rule: &Rule) -> Value {
    let mut parameters: Vec<Value> = rule
        .path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = if name == "verb" {
                json!({ "enum": ["promote", "pause", "resume", "abort", "rollback"] })
            } else {
                json!({ "type": "string", "maxLength": 128 })
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    for name in rule.query {
        let required = *name == "environment" && rule.is_mutation();
        let schema = query_schema(rule, name);
        parameters.push(json!({
            "name": name, "in": "query", "required": required, "schema": schema,
        }));
    }
    for name in headers(rule) {
        parameters.push(json!({
            "name": name, "in": "header", "required": false, "schema": { "type": "string" },
        }));
    }
    let mut described = json!({
        "operationId": rule.name,
        "summary": rule.summary,
        "parameters": parameters,
        "responses": responses(rule),
        "x-needs": format!("{:?}", rule.need),
    });
    if let Some(schema) = rule.takes {
        described["requestBody"] = json!({
            "required": rule.operation != Operation::SteerRollout,
            "content": { "application/json": { "schema": reference(schema) } },
        });
    }
    if rule.need == Need::Nothing {
        described["security"] = json!([]);
    }
    described
}

fn query_schema(rule: &Rule, name: &str) -> Value {
    let numbered = matches!(
        rule.operation,
        Operation::ListEvents
            | Operation::StreamEvents
            | Operation::ListLogs
            | Operation::ListAudit
    );
    match name {
        "limit" => json!({ "type": "integer", "minimum": 1, "default": 50 }),
        "after" if numbered => json!({ "type": "integer", "minimum": 0 }),
        "window_seconds" | "expires_in_seconds" => json!({ "type": "integer", "minimum": 0 }),
        "format" => json!({ "enum": ["json", "html"] }),
        "active" => json!({ "type": "boolean" }),
        "state" => json!({ "enum": ["pending", "delivered", "dead"] }),
        "verdict" => json!({ "enum": ["go", "no_go", "not_enough_evidence"] }),
        _ => json!({ "type": "string", "maxLength": 128 }),
    }
}

fn headers(rule: &Rule) -> &'static [&'static str] {
    match rule.operation {
        Operation::StreamEvents | Operation::StreamLogs => &["Last-Event-ID"],
        Operation::SteerRollout => &["If-Match", "Idempotency-Key"],
        _ if rule.is_mutation() => &["Idempotency-Key"],
        _ => &["If-None-Match"],
    }
}

fn responses(rule: &Rule) -> Value {
    let (status, schema) = rule.answers;
    let kind = match schema {
        "Stream" => "text/event-stream",
        "Text" => "text/plain",
        _ => "application/json",
    };
    let mut good = json!({
        "description": "Done.", "content": { kind: { "schema": reference(schema) } },
    });
    if rule.operation == Operation::GetReport {
        good["content"]["text/html"] = json!({ "schema": { "type": "string" } });
    }
    let mut all = Map::new();
    all.insert(status.to_string(), good.clone());
    if rule.operation == Operation::CreateRollout {
        all.insert("200".to_owned(), good);
    }
    if !rule.is_mutation() && schema != "Stream" {
        all.insert("304".to_owned(), json!({ "description": "The reader has it already." }));
    }
    for (status, description) in problems(rule) {
        all.insert(
            status.to_string(),
            json!({
                "description": description,
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            }),
        );
    }
    Value::Object(all)
}

fn problems(rule: &Rule) -> Vec<(u16, &'static str)> {
    let mut problems = vec![
        (400, "The request cannot be read."),
        (413, "The body is too large."),
        (500, "A bug."),
        (503, "The store or the executor is not there, or the request took too long."),
    ];
    if rule.need != Need::Nothing {
        problems.extend([
            (401, "The token is missing, unknown, expired or revoked."),
            (403, "The token's role or scope does not allow it."),
            (429, "Too many requests."),
        ]);
    }
    if rule.path.contains('{') || rule.takes.is_some() {
        problems.push((404, "There is no such record."));
    }
    if rule.is_mutation() {
        problems.extend([
            (409, "The record is not as the caller saw it."),
            (415, "The body is of another type."),
            (422, "The request makes no sense."),
        ]);
    }
    if rule.operation == Operation::SteerRollout {
        problems
            .extend([(412, "The ETag is stale."), (428, "The revision that was seen is missing.")]);
    }
    problems.sort_unstable_by_key(|(status, _)| *status);
    problems
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({
        "type": "object", "required": required, "properties": properties,
        "additionalProperties": false,
    })
}

fn schemas() -> Value {
    let mut all = Map::new();
    for rule in RULES {
        let (_, schema) = rule.answers;
        let shown = match schema {
            "Stream" | "Text" => json!({ "type": "string" }),
            list if rule.name.split_once('.').is_some_and(|(_, act)| act == "list")
                || matches!(
                    rule.operation,
                    Operation::ListSteps | Operation::ListVerdicts | Operation::ListLogs
                ) =>
            {
                json!({
                    "type": "object", "required": ["items", "next"], "title": list,
                    "properties": {
                        "items": { "type": "array", "items": { "type": "object" } },
                        "next": { "type": ["string", "null"] },
                    },
                })
            }
            _ => json!({ "type": "object" }),
        };
        all.insert(schema.to_owned(), shown);
    }
    let text = json!({ "type": "string", "minLength": 1, "maxLength": 128 });
    let number = json!({ "type": "integer", "minimum": 0 });
    for (name, schema) in requests(&text, &number) {
        all.insert(name.to_owned(), schema);
    }
    all.insert(
        "Problem".to_owned(),
        json!({
            "type": "object", "required": ["type", "title", "status", "detail", "instance"],
            "properties": {
                "type": { "type": "string" }, "title": { "type": "string" },
                "status": { "type": "integer" }, "detail": { "type": "string" },
                "instance": { "type": "string" },
            },
        }),
    );
    Value::Object(all)
}

fn requests(text: &Value, number: &Value) -> Vec<(&'static str, Value)> {
    let id = json!({ "type": ["string", "null"] });
    let list = json!({ "type": "array", "items": text, "maxItems": 64 });
    let role = json!({ "enum": ["viewer", "deployer", "approver", "admin"] });
    let strategy =
        json!({ "enum": ["immediate", "rolling", "blue_green", "canary", "shadow", "ab"] });
    let scope = object(
        &["systems", "environments"],
        &json!({
            "systems": list, "environments": list,
        }),
    );
    let measured = object(
        &["claim_id", "measured", "exchanges"],
        &json!({
            "claim_id": text, "measured": { "type": "number" }, "exchanges": number,
        }),
    );
    vec![
        ("Report", json!({ "type": "object", "required": ["schema"] })),
        (
            "GateRequest",
            object(
                &["prediction_id", "max_risk"],
                &json!({
                    "prediction_id": text, "max_risk": { "type": "number", "minimum": 0, "maximum": 100 },
                    "candidate_digest": id, "good_for_seconds": number,
                }),
            ),
        ),
        (
            "RolloutRequest",
            object(
                &["system", "environment", "candidate_digest", "strategy", "plan"],
                &json!({
                    "system": text, "environment": text, "candidate_digest": text,
                    "strategy": strategy, "prediction_id": id, "plan": { "type": "object" },
                }),
            ),
        ),
        ("Steering", object(&[], &json!({ "revision": number, "stage": number, "reason": id }))),
        (
            "ApprovalRequest",
            object(
                &["stage", "revision", "signed"],
                &json!({
                    "stage": number, "revision": number, "signed": { "type": "object" },
                }),
            ),
        ),
        (
            "OutcomeRequest",
            object(
                &["prediction_id", "dataset_digest", "source", "claims"],
                &json!({
                    "prediction_id": text, "rollout_id": id, "dataset_digest": text, "source": text,
                    "claims": { "type": "array", "items": measured },
                }),
            ),
        ),
        (
            "TokenRequest",
            object(
                &["name", "role", "scope"],
                &json!({
                    "name": text, "role": role, "scope": scope, "expires_in_seconds": number,
                }),
            ),
        ),
        (
            "WebhookRequest",
            object(
                &["url", "events"],
                &json!({
                    "url": { "type": "string" }, "events": list,
                }),
            ),
        ),
    ]
}
