//! `prophecy init`: a `system.yaml` to start from.

use std::fs::OpenOptions;
use std::io::Write;

use prophecy_core::System;

use crate::arguments::InitArguments;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::printer::Printer;

/// Writes the manifest, never over an existing file.
pub(crate) fn run(arguments: &InitArguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let text = manifest(&arguments.service, &arguments.command);
    System::from_yaml(&text).map_err(|error| {
        Failure::of(ExitCode::Usage, &error)
            .during(format!("cannot make a manifest for service `{}`", arguments.service))
    })?;
    let path = &arguments.out;
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        Failure::of(ExitCode::Environment, &error)
            .during(format!("cannot write `{}`", path.display()))
            .hint("choose another file with `--out`")
    })?;
    printer.say(&format!("wrote `{}`; edit the command, then record traffic:", path.display()));
    printer.say(&format!(
        "  prophecy capture --listen 127.0.0.1:9000 --upstream http://127.0.0.1:8000 --service {} \
         --policy replayable --out monday --for 10m",
        arguments.service
    ));
    Ok(ExitCode::Done)
}

fn manifest(service: &str, command: &[String]) -> String {
    let quote = |word: &String| serde_json::to_string(word).expect("strings serialize");
    let command = if command.is_empty() {
        "\"./server\", \"--port\", \"{port}\"".to_owned()
    } else {
        command.iter().map(quote).collect::<Vec<_>>().join(", ")
    };
    let name = serde_json::to_string(service).expect("strings serialize");
    format!(
        r#"apiVersion: prophecy/v1
kind: System
name: {name}
entry: {name}
services:
  {name}:
    run:
      # `{{port}}` is the port it must listen on, `{{data}}` an empty folder of its own.
      command: [{command}]
      cwd: .
      # Started when this path answers below 400; without `http`, when the port accepts.
      # ready: {{ http: /healthz, within: 10s }}
    # Requests that one instance works on at once, if you know it.
    # concurrency: 8
    replicas: 1
# What you promise. Without promises, p99 latency may grow by 20 % and errors by 0.5 points.
# slo:
#   - {{ service: {name}, route: "GET /users/{{id}}", latency_p99: 300ms, error_rate: 1% }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_manifest_that_the_reader_accepts() {
        for command in [vec![], vec!["python3".to_owned(), "a \"b\".py".to_owned()]] {
            let system = System::from_yaml(&manifest("web", &command)).expect("valid");
            assert_eq!(system.entry, "web");
        }
    }
}
