//! What every request passes: who asks, may they, how often, has it been asked before; and the
//! entry in the audit log without which nothing is changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::RawPathParams;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use prophecy_core::Timestamp;
use prophecy_store::{IdempotencyKey, NewAudit, Reservation, Store, StoreError, Token};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api;
use crate::call::{Actor, Call, Content, Reply};
use crate::clock;
use crate::control::Rollouts;
use crate::limiter::Limiter;
use crate::meter::Meter;
use crate::policy::{Need, Operation, Rule, permits};
use crate::problem::Problem;
use crate::server::Limits;
use crate::token::{Presented, Scope, new_id};
use crate::trace::{Answered, Tracer};
use crate::what_if::Oracle;

const KEY_HEADER: &str = "idempotency-key";
/// The longest value of a query.
const QUERY_CHARACTERS: usize = 128;

/// A token's last use is written this often at most.
const TOUCH: Duration = Duration::from_mins(1);

/// What every request shares.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Arc<Store>,
    pub(crate) rollouts: Arc<dyn Rollouts>,
    pub(crate) limits: Limits,
    pub(crate) key: [u8; 32],
    pub(crate) meter: Meter,
    pub(crate) tracer: Tracer,
    pub(crate) oracle: Oracle,
    pub(crate) newest: watch::Receiver<u64>,
    pub(crate) creating: tokio::sync::Mutex<()>,
    pub(crate) by_token: Limiter,
    pub(crate) failed: Limiter,
    pub(crate) touched: Mutex<BTreeMap<String, Instant>>,
    pub(crate) ending: watch::Receiver<bool>,
}

/// The address of a peer, put into a request by the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

// === impl App ===

impl App {
    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// Waits until the server ends.
    pub(crate) async fn ended(&self) {
        // An error says that the server is gone, which is the same.
        let _ended = self.ending.clone().wait_for(|ending| *ending).await.is_ok();
    }

    /// Waits for a while, or until the server ends.
    pub(crate) async fn nap(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.ended() => {}
        }
    }

    /// Returns whether an actor's token is still good.
    pub(crate) async fn is_good(&self, actor: &Actor) -> bool {
        let token = self.store.get_token(&actor.token_id).await;
        token.is_ok_and(|token| is_good(&token, clock::now()))
    }

    /// Answers one request of one operation of the table.
    pub(crate) async fn answer(
        self: Arc<Self>,
        rule: &'static Rule,
        parameters: RawPathParams,
        request: Request<Body>,
    ) -> Response<Body> {
        let (begun, begun_at) = (Instant::now(), clock::now());
        let request_id = new_id(begun_at);
        let headers = request.headers().clone();
        let known = headers.get(header::IF_NONE_MATCH);
        let handled = self.handle(rule, &parameters, request, &request_id);
        let answered = tokio::time::timeout(self.limits.timeout, handled).await;
        let problem = match answered {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "timeout",
                "the request took too long",
            )
            .after(5)),
        };
        let mut response = match problem {
            Ok(reply) => reply.response(known),
            Err(problem) => problem.response(&request_id),
        };
        secure(response.headers_mut(), &request_id);
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        self.meter.request(rule.name, status, took);
        self.tracer.tell(
            &headers,
            &Answered {
                operation: rule.name,
                method: rule.method,
                route: rule.path,
                status,
                request_id: &request_id,
                begun: begun_at,
                ended: begun_at.plus_nanos(took.as_nanos() as u64),
            },
        );
        response
    }

    async fn handle(
        self: &Arc<Self>,
        rule: &'static Rule,
        parameters: &RawPathParams,
        request: Request<Body>,
        request_id: &str,
    ) -> Result<Reply, Problem> {
        let now = clock::now();
        let (head, body) = request.into_parts();
        let actor = self.authorize(rule, &head, now).await?;
        let limit = if rule.operation == Operation::CreatePrediction {
            self.limits.report_bytes
        } else {
            self.limits.body_bytes
        };
        let body = to_bytes(body, limit).await.map_err(|_| {
            let detail = format!("the body is larger than {limit} bytes, or ended early");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
        })?;
        let call = Call {
            actor,
            path: head.uri.path().to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            query: query(head.uri.query().unwrap_or(""))?,
            headers: head.headers,
            body,
            now,
        };
        for value in call.parameters.values() {
            if value.len() > 128 || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Problem::not_found("record"));
            }
        }
        if !rule.is_mutation() {
            return api::perform(self, rule, &call).await;
        }
        self.mutate(rule, &call, request_id).await
    }

    /// Carries out a change that a page asks for, by the rule that holds for the API.
    pub(crate) async fn act(
        self: Arc<Self>,
        rule: &'static Rule,
        call: &Call,
        request_id: &str,
    ) -> Result<Reply, Problem> {
        let actor = call.actor()?;
        self.by_token
            .take(&actor.token_id, Instant::now())
            .map_err(|seconds| too_many("too many requests with this token", seconds))?;
        if !permits(rule.need, Some(actor.role), actor.scope.is_everywhere()) {
            return Err(Problem::forbidden("the token's role or scope does not allow this"));
        }
        self.mutate(rule, call, request_id).await
    }

    /// Finds out who asks and whether they may.
    async fn authorize(
        &self,
        rule: &Rule,
        request: &Parts,
        now: Timestamp,
    ) -> Result<Option<Actor>, Problem> {
        if rule.need == Need::Nothing {
            return Ok(None);
        }
        let address =
            request.extensions.get::<Peer>().map_or_else(String::new, |peer| peer.0.to_string());
        let refused = |seconds| too_many("too many failed attempts from this address", seconds);
        self.failed.peek(&address, Instant::now()).map_err(refused)?;
        let sent = request.headers.get(header::AUTHORIZATION);
        let text = sent.and_then(|sent| sent.to_str().ok()).unwrap_or("");
        let Some(actor) = self.identify(text, now).await? else {
            self.failed.take(&address, Instant::now()).map_err(refused)?;
            return Err(Problem::unauthenticated());
        };
        self.by_token
            .take(&actor.token_id, Instant::now())
            .map_err(|seconds| too_many("too many requests with this token", seconds))?;
        if !permits(rule.need, Some(actor.role), actor.scope.is_everywhere()) {
            return Err(Problem::forbidden("the token's role or scope does not allow this"));
        }
        Ok(Some(actor))
    }

    /// Returns whose token a header holds.
    async fn identify(&self, header: &str, now: Timestamp) -> Result<Option<Actor>, Problem> {
        let (scheme, text) = header.split_once(' ').unwrap_or(("", ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Ok(None);
        }
        let Some(presented) = Presented::parse(text.trim()) else { return Ok(None) };
        let token = match self.store.get_token(presented.id).await {
            Ok(token) => token,
            Err(StoreError::NotFound { .. } | StoreError::Invalid { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let scope: Option<Scope> = serde_json::from_str(&token.scope_json).ok();
        let (true, true, Some(scope)) = (presented.matches(&token), is_good(&token, now), scope)
        else {
            return Ok(None);
        };
        if self.is_to_be_touched(&token.id) {
            // Telling when a token was last used is not worth refusing a request for.
            let _touched = self.store.touch_token(&token.id, now).await.is_ok();
        }
        Ok(Some(Actor { token_id: token.id, role: token.role, scope }))
    }

    fn is_to_be_touched(&self, token_id: &str) -> bool {
        let now = Instant::now();
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let due = touched.get(token_id).is_none_or(|at| now.duration_since(*at) > TOUCH);
        if due {
            touched.insert(token_id.to_owned(), now);
        }
        due
    }

    /// Carries out a change once, and leaves its trace: before, so that nothing is done unseen, and
    /// after, with what came of it.
    async fn mutate(
        self: &Arc<Self>,
        rule: &'static Rule,
        call: &Call,
        request_id: &str,
    ) -> Result<Reply, Problem> {
        let actor = call.actor()?.label();
        let key = idempotency_key(&call.headers)?;
        if let Some(key) = &key
            && let Some(reply) = self.reserve(&actor, key, rule, call).await?
        {
            return Ok(reply);
        }
        let performed = self.audited(rule, call, &actor, request_id).await;
        if let Some(key) = &key {
            let kept = performed.as_ref().ok().and_then(kept);
            self.conclude(&actor, key, kept).await?;
        }
        performed
    }

    async fn audited(
        self: &Arc<Self>,
        rule: &'static Rule,
        call: &Call,
        actor: &str,
        request_id: &str,
    ) -> Result<Reply, Problem> {
        let entry = |action: String, result: Value| NewAudit {
            at: clock::now(),
            actor: actor.to_owned(),
            action,
            object: call.path.clone(),
            detail_json: json!({ "request": request_id, "result": result }).to_string(),
        };
        let action = call.parameters.get("verb").map_or_else(
            || rule.name.to_owned(),
            |verb| {
                crate::Verb::of(verb)
                    .map_or("rollout.steer".to_owned(), |verb| format!("rollout.{}", verb.word()))
            },
        );
        self.store.append_audit(&entry(action.clone(), json!("asked"))).await?;
        let performed = api::perform(self, rule, call).await;
        let result = match &performed {
            Ok(reply) => json!({ "status": reply.status.as_u16(), "object": made(reply) }),
            Err(problem) => json!({ "status": problem.status.as_u16(), "problem": problem.slug }),
        };
        // The change is made: its first entry stands even if the second cannot be written.
        let _written = self.store.append_audit(&entry(action, result)).await.is_ok();
        performed
    }

    async fn reserve(
        &self,
        actor: &str,
        key: &str,
        rule: &Rule,
        call: &Call,
    ) -> Result<Option<Reply>, Problem> {
        let mut hasher = blake3::Hasher::new();
        for part in [rule.method.as_bytes(), call.path.as_bytes(), &call.body] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        for (name, value) in &call.query {
            hasher.update(format!("{name}={value}\0").as_bytes());
        }
        let wanted = IdempotencyKey {
            actor: actor.to_owned(),
            key: key.to_owned(),
            request_digest: hasher.finalize().to_hex().to_string(),
            response_status: None,
            response_body: None,
            created_at: call.now,
        };
        let Reservation::Existing(known) = self.store.reserve_idempotency_key(&wanted).await?
        else {
            return Ok(None);
        };
        if known.request_digest != wanted.request_digest {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "the idempotency key was used for another request",
            ));
        }
        let (Some(status), Some(body)) = (known.response_status, known.response_body) else {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "request-in-progress",
                "the first request of this idempotency key is still being carried out",
            )
            .after(1));
        };
        let status = StatusCode::from_u16(status).map_err(|_| Problem::internal())?;
        let reply = Reply::text(status, "application/json", body);
        Ok(Some(reply.with(HeaderName::from_static("idempotent-replayed"), "true")))
    }

    /// Keeps the answer of a change that was made; gives the key back where none was.
    async fn conclude(
        &self,
        actor: &str,
        key: &str,
        kept: Option<(u16, String)>,
    ) -> Result<(), Problem> {
        match kept {
            Some((status, body)) => {
                self.store.complete_idempotency_key(actor, key, status, &body).await?;
            }
            None => self.store.release_idempotency_key(actor, key).await?,
        }
        Ok(())
    }
}

/// Returns what of a reply is kept for replays.
fn kept(reply: &Reply) -> Option<(u16, String)> {
    let Content::Text(_, body) = &reply.content else { return None };
    Some((reply.status.as_u16(), without_secret(body)))
}

/// A secret is shown once: the answer that is kept for replays is without it.
fn without_secret(body: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    if let Some(fields) = value.as_object_mut() {
        fields.remove("secret");
    }
    value.to_string()
}

fn made(reply: &Reply) -> Value {
    let Content::Text(_, body) = &reply.content else { return Value::Null };
    let value: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    value.get("id").or_else(|| value.get("prediction_id")).cloned().unwrap_or(Value::Null)
}

pub(crate) fn is_good(token: &Token, now: Timestamp) -> bool {
    token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end)
}

fn too_many(detail: &str, seconds: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail).after(seconds)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(KEY_HEADER) else { return Ok(None) };
    key.to_str()
        .ok()
        .filter(|key| !key.is_empty() && key.len() <= 128)
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(|key| Some(key.to_owned()))
        .ok_or_else(|| Problem::malformed("`idempotency-key` is not 1 to 128 visible characters"))
}

/// Parses a query.
fn query(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut parsed = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(Problem::malformed("the query is not percent-encoded UTF-8"));
        };
        if value.contains('\0') {
            return Err(Problem::malformed("the query holds a zero byte"));
        }
        if value.chars().count() > QUERY_CHARACTERS {
            let detail =
                format!("a value of the query is longer than {QUERY_CHARACTERS} characters");
            return Err(Problem::malformed(detail));
        }
        if parsed.insert(name, value).is_some() {
            return Err(Problem::malformed("the query names a parameter twice"));
        }
    }
    Ok(parsed)
}

/// Decodes a name or a value of a query or a form.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Adds what every answer carries.
pub(crate) fn secure(headers: &mut HeaderMap, request_id: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_or_refused() {
        let parsed = query("a=1&b=x%20y+z&c").expect("a query");
        assert_eq!(parsed.get("b").map(String::as_str), Some("x y z"));
        assert_eq!(parsed.get("c").map(String::as_str), Some(""));
        for text in ["a=%", "a=%f", "a=%zz", "a=%ff", "a=%00"] {
            assert!(query(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_kept_without_its_secret() {
        assert_eq!(without_secret("{\"id\":\"a\",\"secret\":\"s\"}"), "{\"id\":\"a\"}");
    }
}
