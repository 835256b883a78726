//! The dashboard's pages: who looks, what they may see, and the page.
//!
//! Whoever logs in with a token gets a session that lives in memory; the token itself is in no cookie. What a page
//! changes goes the way of the API: the same rule, the same revision check, the same audit log.

mod answer;
mod form;
mod view;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use prophecy_core::{Seed, Timestamp};
use prophecy_store::{Page, PredictionFilter, Role, RolloutFilter, SettledFilter, StoreError};

use self::answer::{html_response, see_other};
use self::form::{cookie, form, pairs};
use crate::call::{Actor, Call};
use crate::clock;
use crate::dashboard::markup::segment;
use crate::dashboard::notice::{Refusal, login, refusal};
use crate::dashboard::prediction::{PredictionList, prediction, predictions};
use crate::dashboard::rollout::{rollout, rollouts};
use crate::dashboard::service::services;
use crate::dashboard::tally::{Accuracy, Filter};
use crate::dashboard::what_if::{Question, WhatIf, what_if};
use crate::dashboard::{Context, Viewer, accuracy::accuracy, audit};
use crate::feed;
use crate::gateway::{App, Peer, is_good};
use crate::policy::{Operation, RULES, Rule, permits};
use crate::problem::Problem;
use crate::token::{Presented, Scope, new_id, random_hex};

/// How long a session lives.
const SESSION_NANOS: u64 = 12 * 3_600 * 1_000_000_000;

/// Sessions at once.
const SESSIONS: usize = 10_000;

/// Rows of one page of a list.
const ROWS: u32 = 50;

/// Predictions and settled claims that the accuracy page looks at.
const PREDICTIONS: u32 = 10_000;
const CLAIMS: u32 = 60_000;

/// The cookie of a session.
const COOKIE: &str = "prophecy-session";

/// The pages, and who is logged in.
struct Pages {
    app: Arc<App>,
    sessions: Mutex<BTreeMap<String, Session>>,
}

#[derive(Clone)]
struct Session {
    token_id: String,
    csrf: String,
    ends_at: Timestamp,
}

/// Somebody who is logged in.
struct Guest {
    actor: Actor,
    name: String,
    csrf: String,
}

/// A request, taken apart.
struct Asked {
    path: String,
    parameter: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
}

/// Why there is no page.
enum NoPage {
    LogIn,
    Refused(Refusal),
}

impl From<StoreError> for NoPage {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound { .. } | StoreError::Invalid { .. } => {
                Self::Refused(Refusal::NotFound)
            }
            _ => Self::Refused(Refusal::Broken),
        }
    }
}

/// Returns the routes of the pages.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let pages = Arc::new(Pages { app: Arc::clone(app), sessions: Mutex::default() });
    let mut router = Router::new();
    for path in [
        "/",
        "/predictions",
        "/predictions/{id}",
        "/rollouts",
        "/rollouts/{id}",
        "/services",
        "/what-if",
        "/audit",
        "/login",
    ] {
        let pages = Arc::clone(&pages);
        let handler = move |parameters: RawPathParams, request: Request| async move {
            pages.answer(path, &parameters, request).await
        };
        router = router.route(path, get(handler));
    }
    let of = |pages: &Arc<Pages>| Arc::clone(pages);
    let (enter, leave, changes, steer) = (of(&pages), of(&pages), of(&pages), of(&pages));
    router
        .route(
            "/rollouts/{id}/{verb}",
            post(move |parameters: RawPathParams, request: Request| async move {
                steer.steer(&parameters, request).await
            }),
        )
        .route("/login", post(move |request: Request| async move { enter.enter(request).await }))
        .route("/logout", post(move |request: Request| async move { leave.leave(request).await }))
        .route(
            "/rollouts/{id}/events",
            get(move |parameters: RawPathParams, headers: HeaderMap| async move {
                changes.changes(&parameters, &headers).await
            }),
        )
}

// === impl Pages ===

impl Pages {
    async fn answer(
        &self,
        path: &'static str,
        parameters: &RawPathParams,
        request: Request,
    ) -> Response<Body> {
        let asked = Asked {
            path: path.to_owned(),
            parameter: first(parameters),
            query: pairs(request.uri().query().unwrap_or_default()),
            headers: request.headers().clone(),
        };
        let nonce = random_hex().unwrap_or_default();
        let guest = self.guest(&asked.headers).await;
        let context = context(guest.as_ref(), clock::now(), &nonce);
        let page = match &guest {
            _ if path == "/login" => Ok(login(&context, false)),
            None => Err(NoPage::LogIn),
            Some(guest) => self.page(&asked, guest, &context).await,
        };
        let request_id = new_id(context.now);
        match page {
            Ok(html) => html_response(StatusCode::OK, html, &nonce),
            Err(NoPage::LogIn) => see_other("/login", None),
            Err(NoPage::Refused(why)) => {
                let status = match why {
                    Refusal::NotFound => StatusCode::NOT_FOUND,
                    Refusal::Forbidden => StatusCode::FORBIDDEN,
                    Refusal::Broken => StatusCode::INTERNAL_SERVER_ERROR,
                };
                html_response(status, refusal(&context, why, &request_id), &nonce)
            }
        }
    }

    async fn page(
        &self,
        asked: &Asked,
        guest: &Guest,
        context: &Context,
    ) -> Result<String, NoPage> {
        match asked.path.as_str() {
            "/" => self.accuracy(asked, guest, context).await,
            "/predictions" => self.predictions(asked, guest, context).await,
            "/predictions/{id}" => {
                let view = self.prediction(&asked.parameter, guest).await?;
                Ok(prediction(context, &view))
            }
            "/rollouts" => {
                let page = Page { after: asked.field("after"), ..Page::newest(ROWS) };
                let found = self.app.store.list_rollouts(&RolloutFilter::default(), &page).await?;
                let older = (found.len() == ROWS as usize).then(|| found.last()).flatten();
                let older = older.map(|last| last.id.clone());
                let seen = found.iter().filter(|it| guest.sees(&it.system, &it.environment));
                let rows: Vec<_> = seen.map(view::rollout_row).collect();
                Ok(rollouts(context, &rows, older.as_deref()))
            }
            "/rollouts/{id}" => {
                let view = self.rollout(&asked.parameter, guest).await?;
                Ok(rollout(context, &view))
            }
            "/services" => {
                let scored = self.scored(guest).await?;
                let page = Page::newest(ROWS);
                let found = self.app.store.list_rollouts(&RolloutFilter::default(), &page).await?;
                let found: Vec<_> = found
                    .into_iter()
                    .filter(|it| guest.sees(&it.system, &it.environment))
                    .collect();
                Ok(services(context, &view::profiles(&scored, &found, context.now)))
            }
            "/what-if" => Ok(what_if(context, &self.what_if(asked).await)),
            "/audit" if guest.actor.role == Role::Admin => self.audit(asked, context).await,
            "/audit" => Err(NoPage::Refused(Refusal::Forbidden)),
            _ => Err(NoPage::Refused(Refusal::NotFound)),
        }
    }

    async fn accuracy(
        &self,
        asked: &Asked,
        guest: &Guest,
        context: &Context,
    ) -> Result<String, NoPage> {
        let filter = Filter {
            system: asked.field("system"),
            service: asked.field("service"),
            family: asked.field("family"),
            days: asked.field("days").and_then(|days| days.parse().ok()),
        };
        let scored = self.scored(guest).await?;
        let tally = Accuracy::of(&scored, &filter, context.now, Seed(7));
        Ok(accuracy(context, &tally, &filter))
    }

    /// Returns every prediction that somebody may see, with what became of it.
    async fn scored(&self, guest: &Guest) -> Result<Vec<crate::dashboard::tally::Scored>, NoPage> {
        let store = &self.app.store;
        let page = Page::newest(PREDICTIONS);
        let found = store.list_predictions(&PredictionFilter::default(), &page).await?;
        let settled = store.list_settled_claims(&SettledFilter::default(), CLAIMS).await?;
        let seen = found.into_iter().filter(|it| guest.sees(&it.system, &it.environment));
        Ok(view::scored(seen.collect(), settled))
    }

    async fn predictions(
        &self,
        asked: &Asked,
        guest: &Guest,
        context: &Context,
    ) -> Result<String, NoPage> {
        let store = &self.app.store;
        let filter = PredictionFilter {
            system: asked.field("system"),
            verdict: asked.field("verdict"),
            ..PredictionFilter::default()
        };
        let page = Page { after: asked.field("after"), ..Page::newest(ROWS) };
        let found = store.list_predictions(&filter, &page).await?;
        let older = (found.len() == ROWS as usize).then(|| found.last()).flatten();
        let older = older.map(|last| last.id.clone());
        let (mut rows, mut systems) = (Vec::new(), std::collections::BTreeSet::new());
        for one in found.iter().filter(|it| guest.sees(&it.system, &it.environment)) {
            let claims = store.list_outcome_claims(&one.id).await?;
            systems.insert(one.system.clone());
            rows.push(view::prediction_row(one, &claims));
        }
        let list = PredictionList {
            rows,
            systems: systems.into_iter().collect(),
            system: filter.system,
            verdict: filter.verdict,
            newer: None,
            older,
        };
        Ok(predictions(context, &list))
    }

    async fn prediction(
        &self,
        id: &str,
        guest: &Guest,
    ) -> Result<crate::dashboard::prediction::PredictionView, NoPage> {
        let store = &self.app.store;
        let one = store.get_prediction(id).await?;
        if !guest.sees(&one.system, &one.environment) {
            return Err(NoPage::Refused(Refusal::NotFound));
        }
        let report = store.get_report(id).await?;
        let claims = store.list_claims(id).await?;
        let outcomes = store.list_outcome_claims(id).await?;
        let gated =
            RolloutFilter { prediction_id: Some(id.to_owned()), ..RolloutFilter::default() };
        let gated = store.list_rollouts(&gated, &Page::newest(1)).await?;
        let rollout = gated.first().map(|rollout| rollout.id.clone());
        Ok(view::prediction(&one, &report, &claims, &outcomes, rollout))
    }

    async fn rollout(
        &self,
        id: &str,
        guest: &Guest,
    ) -> Result<crate::dashboard::rollout::RolloutView, NoPage> {
        let store = &self.app.store;
        let one = store.get_rollout(id).await?;
        if !guest.sees(&one.system, &one.environment) {
            return Err(NoPage::Refused(Refusal::NotFound));
        }
        let steps = store.list_steps(id).await?;
        let verdicts = store.list_verdicts(id).await?;
        let logs = store.tail_logs(id, 200).await?;
        let approvals = store.list_approvals(id).await?;
        Ok(view::rollout(&one, &steps, &verdicts, &logs, &approvals, clock::now()))
    }

    async fn what_if(&self, asked: &Asked) -> WhatIf {
        let oracle = &self.app.oracle;
        let view = WhatIf { models: oracle.models(), ..WhatIf::default() };
        if asked.field("model").is_none() {
            return view;
        }
        let question = Question {
            model: asked.field("model").unwrap_or_default(),
            now_hz: asked.number("now"),
            then_hz: asked.number("then"),
            service: asked.field("service"),
            replicas: asked.field("replicas").and_then(|text| text.parse().ok()),
        };
        match oracle.ask(&question).await {
            Ok(answer) => WhatIf { question: Some(question), answer: Some(answer), ..view },
            Err(refused) => WhatIf { question: Some(question), refused: Some(refused), ..view },
        }
    }

    async fn audit(&self, asked: &Asked, context: &Context) -> Result<String, NoPage> {
        let before = asked.field("after").and_then(|after| after.parse().ok());
        let found = self.app.store.list_audit_newest(before, ROWS).await?;
        let chain = match self.app.store.verify_audit().await {
            Ok(chain) => audit::Chain::Whole(chain.entries),
            Err(StoreError::Corrupt { .. }) => {
                audit::Chain::Broken(found.last().map_or(0, |entry| entry.seq as i64))
            }
            Err(_) => audit::Chain::Unverified,
        };
        let older = (found.len() == ROWS as usize).then(|| found.last()).flatten();
        let older = older.map(|last| last.seq.to_string());
        let rows: Vec<_> = found.iter().map(view::audit_row).collect();
        Ok(audit::audit(context, &rows, chain, older.as_deref()))
    }

    /// Returns who is logged in, if their token is still good.
    async fn guest(&self, headers: &HeaderMap) -> Option<Guest> {
        let id = cookie(headers, COOKIE)?;
        let session = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.get(&id)?.clone()
        };
        let now = clock::now();
        let token = self.app.store.get_token(&session.token_id).await.ok()?;
        if now >= session.ends_at || !is_good(&token, now) {
            return None;
        }
        let scope: Scope = serde_json::from_str(&token.scope_json).ok()?;
        let actor = Actor { token_id: token.id, role: token.role, scope };
        Some(Guest { actor, name: token.name, csrf: session.csrf })
    }

    /// Logs somebody in.
    async fn enter(&self, request: Request) -> Response<Body> {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.to_string());
        let peer = peer.unwrap_or_default();
        let form = form(request).await;
        let text = form.get("token").map(|text| text.trim().to_owned()).unwrap_or_default();
        let now = clock::now();
        let token = match Presented::parse(&text) {
            Some(presented) => {
                let token = self.app.store.get_token(presented.id).await.ok();
                token.filter(|token| presented.matches(token) && is_good(token, now))
            }
            None => None,
        };
        let secrets = (random_hex(), random_hex());
        let (Some(token), (Ok(id), Ok(csrf))) = (token, secrets) else {
            return self.failed(&peer, now);
        };
        let session = Session { token_id: token.id, csrf, ends_at: now.plus_nanos(SESSION_NANOS) };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| now < session.ends_at);
        if sessions.len() < SESSIONS {
            sessions.insert(id.clone(), session);
        }
        drop(sessions);
        see_other("/", Some(&format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict")))
    }

    /// Says that a token was not accepted; too often is refused for a while.
    fn failed(&self, peer: &str, now: Timestamp) -> Response<Body> {
        let nonce = random_hex().unwrap_or_default();
        let context = Context { now, viewer: None, nonce: nonce.clone(), csrf: String::new() };
        let status = match self.app.failed.take(peer, Instant::now()) {
            Ok(()) => StatusCode::UNAUTHORIZED,
            Err(_) => StatusCode::TOO_MANY_REQUESTS,
        };
        html_response(status, login(&context, true), &nonce)
    }

    /// Logs somebody out.
    async fn leave(&self, request: Request) -> Response<Body> {
        let id = cookie(request.headers(), COOKIE);
        let sent = form(request).await.remove("csrf").unwrap_or_default();
        if let Some(id) = id {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            if sessions.get(&id).is_some_and(|session| session.csrf == sent) {
                sessions.remove(&id);
            }
        }
        see_other("/login", Some(&format!("{COOKIE}=; Path=/; Max-Age=0")))
    }

    /// Steers a rollout, as the API would.
    async fn steer(&self, parameters: &RawPathParams, request: Request) -> Response<Body> {
        let headers = request.headers().clone();
        let parameters: BTreeMap<String, String> =
            parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let form = form(request).await;
        let Some(guest) = self.guest(&headers).await else { return see_other("/login", None) };
        let now = clock::now();
        let (nonce, request_id) = (random_hex().unwrap_or_default(), new_id(now));
        let revision = form.get("revision").and_then(|text| text.parse::<u64>().ok());
        let ours = form.get("csrf").is_some_and(|sent| *sent == guest.csrf);
        let id = parameters.get("id").cloned().unwrap_or_default();
        let call = Call {
            path: format!("/rollouts/{}", segment(&id)),
            parameters,
            query: BTreeMap::new(),
            headers: json_headers(),
            body: serde_json::json!({ "revision": revision }).to_string().into(),
            now,
            actor: Some(guest.actor.clone()),
        };
        let done = if ours {
            Arc::clone(&self.app).act(steering(), &call, &request_id).await
        } else {
            Err(Problem::forbidden("the form is not ours"))
        };
        match done {
            Ok(_) => see_other(&format!("/rollouts/{}", segment(&id)), None),
            Err(problem) => {
                let (why, status) = match problem.status {
                    StatusCode::FORBIDDEN => (Refusal::Forbidden, problem.status),
                    StatusCode::NOT_FOUND => (Refusal::NotFound, problem.status),
                    StatusCode::CONFLICT => {
                        return see_other(&format!("/rollouts/{}", segment(&id)), None);
                    }
                    _ => (Refusal::Broken, problem.status),
                };
                let context = context(Some(&guest), now, &nonce);
                html_response(status, refusal(&context, why, &request_id), &nonce)
            }
        }
    }

    /// Tells a page that its rollout has changed.
    async fn changes(&self, parameters: &RawPathParams, headers: &HeaderMap) -> Response<Body> {
        let id = first(parameters);
        let guest = self.guest(headers).await;
        let rollout = self.app.store.get_rollout(&id).await.ok();
        let seen = guest.zip(rollout).filter(|(guest, it)| guest.sees(&it.system, &it.environment));
        let mut response = match seen {
            Some(_) => Response::new(feed::changes(Arc::clone(&self.app), id)),
            None => Response::new(Body::empty()),
        };
        let kind = HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

// === impl Guest ===

impl Guest {
    fn sees(&self, system: &str, environment: &str) -> bool {
        self.actor.scope.holds(system, environment)
    }
}

// === impl Asked ===

impl Asked {
    /// Returns a field of the query that is not empty.
    fn field(&self, name: &str) -> Option<String> {
        self.query.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

impl Asked {
    /// Returns a number of the query; zero if there is none.
    fn number(&self, name: &str) -> f64 {
        self.field(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }
}

fn first(parameters: &RawPathParams) -> String {
    parameters.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default()
}

/// The rule of the API that forms of a rollout's page follow.
fn steering() -> &'static Rule {
    let rules = RULES.iter().find(|rule| rule.operation == Operation::SteerRollout);
    rules.expect("it is in the table")
}

fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(header::CONTENT_TYPE, json)])
}

fn context(guest: Option<&Guest>, now: Timestamp, nonce: &str) -> Context {
    Context {
        now,
        viewer: guest.map(|guest| Viewer {
            name: guest.name.clone(),
            role: format!("{:?}", guest.actor.role).to_lowercase(),
            may_deploy: permits(steering().need, Some(guest.actor.role), false),
            may_administer: guest.actor.role == Role::Admin,
        }),
        nonce: nonce.to_owned(),
        csrf: guest.map(|guest| guest.csrf.clone()).unwrap_or_default(),
    }
}
