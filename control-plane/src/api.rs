//! Handlers: each parses, calls a service, renders.

mod admin;
mod prediction;
mod rollout;
mod telling;

use std::sync::Arc;

use crate::call::{Call, Reply};
use crate::gateway::App;
use crate::policy::{Operation, Rule};
use crate::problem::Problem;

/// Carries out an operation. A row of the table without an arm here does not compile.
pub(crate) async fn perform(app: &Arc<App>, rule: &Rule, call: &Call) -> Result<Reply, Problem> {
    match rule.operation {
        Operation::Health => telling::health(app).await,
        Operation::Metrics => telling::metrics(app).await,
        Operation::OpenApi => Ok(Reply::ok(&crate::openapi::document())),
        Operation::ListPredictions => prediction::list(app, call).await,
        Operation::CreatePrediction => prediction::create(app, call).await,
        Operation::GetPrediction => prediction::get(app, call).await,
        Operation::GetReport => prediction::report(app, call).await,
        Operation::RevokePrediction => prediction::revoke(app, call).await,
        Operation::ListGates => prediction::gates(app, call).await,
        Operation::DecideGate => prediction::decide(app, call).await,
        Operation::ListOutcomes => prediction::outcomes(app, call).await,
        Operation::SettleOutcome => prediction::settle(app, call).await,
        Operation::GetOutcome => prediction::outcome(app, call).await,
        Operation::GetAccuracy => prediction::accuracy(app, call).await,
        Operation::ListRollouts => rollout::list(app, call).await,
        Operation::CreateRollout => rollout::create(app, call).await,
        Operation::GetRollout => rollout::get(app, call).await,
        Operation::SteerRollout => rollout::steer(app, call).await,
        Operation::ListSteps => rollout::steps(app, call).await,
        Operation::ListVerdicts => rollout::verdicts(app, call).await,
        Operation::ListLogs => rollout::logs(app, call).await,
        Operation::StreamLogs => rollout::stream(app, call).await,
        Operation::ListApprovals => rollout::approvals(app, call).await,
        Operation::CreateApproval => rollout::approve(app, call).await,
        Operation::ListEvents => telling::events(app, call).await,
        Operation::StreamEvents => telling::stream(app, call),
        Operation::ListTokens => admin::tokens(app, call).await,
        Operation::CreateToken => admin::create_token(app, call).await,
        Operation::RevokeToken => admin::revoke_token(app, call).await,
        Operation::ListWebhooks => admin::webhooks(app, call).await,
        Operation::CreateWebhook => admin::create_webhook(app, call).await,
        Operation::GetWebhook => admin::webhook(app, call).await,
        Operation::DeleteWebhook => admin::delete_webhook(app, call).await,
        Operation::ListDeliveries => admin::deliveries(app, call).await,
        Operation::Redeliver => admin::redeliver(app, call).await,
        Operation::ListAudit => admin::audit(app, call).await,
        Operation::VerifyAudit => admin::verify_audit(app).await,
    }
}

/// Returns the cursor of the next page, if the one that was read was full.
fn next<T>(records: &[T], limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    (records.len() == limit as usize).then(|| records.last().map(cursor)).flatten()
}
