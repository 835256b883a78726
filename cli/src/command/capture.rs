//! `prophecy capture`: traffic into a dataset, sanitized.

use std::cell::Cell;
use std::fs;

use prophecy_anonymizer::Policy;
use prophecy_capture::agent::{
    AgentOptions, CaptureSummary, EdgeOptions, FileProgress, Output, PcapCaptureOptions,
    ProxyProgress, capture_pcap, capture_proxy,
};
use prophecy_capture::pcap::{PcapOptions, ServiceNames};
use prophecy_capture::recorder::RecordingOptions;

use super::runtime;
use crate::arguments::{CaptureArguments, PrivacyArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::stop::Stop;
use crate::{key_file, progress};

/// Captures from packets or through proxies.
pub(crate) fn run(arguments: &CaptureArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let policy = policy(&arguments.privacy)?;
    let edges = edges(arguments)?;
    let names = names(&arguments.names)?;
    let (key, created) = key_file::load_or_create(arguments.privacy.key_file.as_deref())?;
    if let Some(path) = created {
        printer.say(&format!("made a key of pseudonyms: `{}`", path.display()));
    }
    let output = Output { dataset: arguments.out.clone(), policy, key };
    let runtime = runtime()?;
    let summary = runtime.block_on(async {
        let stop = Stop::listen().map_err(|error| Failure::of(ExitCode::Environment, &error))?;
        if arguments.pcap.is_empty() {
            proxies(arguments, edges, output, stop, printer).await
        } else {
            packets(arguments, names, output, &stop, printer)
        }
    })?;
    report(&summary, arguments, printer);
    Ok(ExitCode::Done)
}

async fn proxies(
    arguments: &CaptureArguments,
    edges: Vec<EdgeOptions>,
    output: Output,
    stop: Stop,
    printer: &Printer,
) -> Result<CaptureSummary, Failure> {
    let spinner = progress::spinner(printer, "listening");
    let warned = Cell::new(false);
    let tell = |what: ProxyProgress| match what {
        ProxyProgress::Listening { destination, address, upstream } => {
            let place = format!("`{destination}`: http://{address} → http://{upstream}");
            spinner.suspend(|| printer.say(&place));
        }
        ProxyProgress::Counts(counts) => {
            let shed =
                if counts.shed > 0 { format!(", {} shed", counts.shed) } else { String::new() };
            spinner.set_message(format!("{} exchanges{shed}; Ctrl-C ends it", counts.seen));
            if counts.failed && !warned.replace(true) {
                let words = "the dataset cannot be written any more; the proxy goes on serving, and nothing is recorded";
                spinner.suspend(|| printer.warn(words));
            }
        }
    };
    let options = AgentOptions {
        edges,
        output,
        body_limit: arguments.body_limit,
        recording: RecordingOptions::default(),
        progress: &tell,
    };
    let duration = arguments.duration;
    let ended = async move {
        match duration {
            Some(span) => tokio::select! {
                () = tokio::time::sleep(span.0) => {}
                () = stop.wait() => {}
            },
            None => stop.wait().await,
        }
    };
    let summary = capture_proxy(options, ended).await;
    spinner.finish_and_clear();
    Ok(summary?)
}

fn packets(
    arguments: &CaptureArguments,
    names: ServiceNames,
    output: Output,
    stop: &Stop,
    printer: &Printer,
) -> Result<CaptureSummary, Failure> {
    let bar = progress::bar(printer, "reading", 1, "bytes");
    let tell = |progress: FileProgress| {
        bar.set_length(progress.bytes_total.max(1));
        bar.set_position(progress.bytes_read);
    };
    let flag = stop.flag();
    let options = PcapCaptureOptions {
        files: arguments.pcap.clone(),
        pcap: PcapOptions { services: names, body_limit: arguments.body_limit },
        output,
        stop: &flag,
        progress: &tell,
    };
    let summary = capture_pcap(options);
    bar.finish_and_clear();
    Ok(summary?)
}

fn report(summary: &CaptureSummary, arguments: &CaptureArguments, printer: &Printer) {
    let ledger = &summary.manifest.ledger;
    let out = arguments.out.display();
    let mut human = format!("wrote dataset `{out}`: {} exchanges", ledger.exchanges.recorded);
    if ledger.exchanges.shed > 0 {
        human.push_str(&format!(", {} shed so as not to slow the service", ledger.exchanges.shed));
    }
    if ledger.packets.seen > 0 {
        human.push_str(&format!(" from {} packets", ledger.packets.seen));
    }
    for (oddity, count) in &summary.oddities {
        human.push_str(&format!("\n  {count} x {oddity}"));
    }
    if summary.interrupted {
        human.push_str("\nended early: there was more to read");
    }
    printer.data(&human, &summary.manifest);
    printer.say(&format!("look at it with `prophecy dataset info {out}`"));
}

/// Returns the policy that the arguments ask for.
pub(crate) fn policy(arguments: &PrivacyArguments) -> Result<Policy, Failure> {
    let policy = if let Some(policy) = Policy::named(&arguments.policy) {
        policy
    } else {
        let attempt = format!("cannot use policy `{}`", arguments.policy);
        let text = fs::read_to_string(&arguments.policy).map_err(|error| {
            Failure::of(ExitCode::Environment, &error)
                .during(&attempt)
                .hint("name `default`, `replayable`, `synthetic` or a YAML file")
        })?;
        Policy::from_yaml(&text).map_err(|error| Failure::from(error).during(&attempt))?
    };
    let Some(path) = &arguments.system else { return Ok(policy) };
    let system = prophecy_twin::load_system(path)?.system;
    Ok(policy.with_routes(system.slo.into_iter().map(|slo| slo.route)))
}

fn edges(arguments: &CaptureArguments) -> Result<Vec<EdgeOptions>, Failure> {
    let mut edges = Vec::new();
    if let (Some(listen), Some(upstream), Some(service)) =
        (arguments.listen, &arguments.upstream, &arguments.service)
    {
        edges.push(EdgeOptions {
            listen,
            upstream: upstream.clone(),
            source: arguments.source.clone(),
            destination: service.clone(),
        });
    }
    for text in &arguments.edge {
        edges.push(edge(text).ok_or_else(|| {
            Failure::new(ExitCode::Usage, format!("`{text}` is not an edge"))
                .hint("write `SOURCE>SERVICE=LISTEN>URL`, such as `web>api=127.0.0.1:9001>http://127.0.0.1:8001`")
        })?);
    }
    Ok(edges)
}

fn edge(text: &str) -> Option<EdgeOptions> {
    let (names, addresses) = text.split_once('=')?;
    let (source, destination) = names.split_once('>')?;
    let (listen, upstream) = addresses.split_once('>')?;
    Some(EdgeOptions {
        listen: listen.parse().ok()?,
        upstream: upstream.to_owned(),
        source: source.to_owned(),
        destination: destination.to_owned(),
    })
}

fn names(texts: &[String]) -> Result<ServiceNames, Failure> {
    let name = |text: &String| {
        let parsed = text
            .split_once('=')
            .and_then(|(name, address)| Some((address.parse().ok()?, name.to_owned())));
        parsed.ok_or_else(|| {
            Failure::new(ExitCode::Usage, format!("`{text}` is not a name of an address"))
                .hint("write `NAME=ADDR:PORT`, such as `api=10.0.0.7:8080`")
        })
    };
    texts.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_edge() {
        let found = edge("web>api=127.0.0.1:9001>http://127.0.0.1:8001").expect("an edge");
        assert_eq!((found.source.as_str(), found.destination.as_str()), ("web", "api"));
        assert_eq!(found.upstream, "http://127.0.0.1:8001");
        assert!(edge("web=127.0.0.1:9001").is_none());
    }
}
