//! Fills a store with drawn predictions and outcomes, for the benchmark: `fill sqlite:FILE [predictions] [claims]`.

use std::error::Error;

use prophecy_control_plane::trials;
use prophecy_core::Seed;
use prophecy_datasets::TrialRecords;
use prophecy_datasets::trials::{Deployment, TrialClaim};
use prophecy_store::Store;

const DAY: i64 = 86_400_000_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let store = arguments.next().ok_or("usage: fill sqlite:FILE [predictions] [claims]")?;
    let predictions: i64 = arguments.next().map_or(Ok(10_000), |it| it.parse())?;
    let claims: i64 = arguments.next().map_or(Ok(5), |it| it.parse())?;
    let mut luck = Seed(5).stream(0, 0, "fill");
    let mut records = TrialRecords::default();
    for index in 0..predictions {
        let risk = luck.uniform().powi(2);
        let trial = format!("drawn-{index}");
        let at = 1_750_000_000_000_000_000 + index * 365 * DAY / predictions;
        records.deployments.push(Deployment {
            trial: trial.clone(),
            campaign: "production".to_owned(),
            topology: format!("system-{}", index % 7),
            prediction_digest: format!("{index:064x}"),
            predicted_at: at,
            deployed_at: at + 1_000_000_000,
            deployed_seconds: 3_600.0,
            window_seconds: 3_600.0,
            verdict: if risk > 0.2 { "no_go" } else { "go" }.to_owned(),
            risk,
            risk_lo: 0.8 * risk,
            risk_hi: (1.2 * risk).min(1.0),
            ..Deployment::default()
        });
        for claim in 0..claims {
            let probability = luck.uniform() * risk;
            let came = luck.uniform() < probability;
            let at = 100.0 * (1.0 + luck.uniform());
            records.claims.push(TrialClaim {
                trial: trial.clone(),
                claim: format!("service-{}/GET-/{claim}/latency-p95", claim % 3),
                route: format!("GET /{claim}"),
                metric: "latency-p95".to_owned(),
                threshold: Some(200.0),
                probability: Some(probability),
                p5: 0.7 * at,
                p10: 0.8 * at,
                p25: 0.9 * at,
                p50: at,
                p75: 1.1 * at,
                p90: 1.2 * at,
                p95: 1.3 * at,
                measured: Some(if came { 250.0 } else { at * (0.8 + 0.4 * luck.uniform()) }),
                exchanges: 1_000,
                evidence_exceeded: Some(if came { 100.0 } else { 0.0 }),
                evidence_kept: Some(if came { 0.0 } else { 100.0 }),
                ..TrialClaim::default()
            });
        }
    }
    let store = Store::open(&store).await?;
    trials::import(&store, &records).await?;
    store.close().await;
    Ok(())
}
