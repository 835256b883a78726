//! Reads captures and prints what they hold: `cargo run --example packets -- FILE...`.

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::path::Path;

use prophecy_capture::pcap::{Captured, Ids, PcapOptions, ReadCaptureError, read_capture};

fn main() -> Result<(), ReadCaptureError> {
    let options = PcapOptions { services: std::iter::empty().collect(), body_limit: 64 << 10 };
    let mut ids = Ids::default();
    for file in std::env::args().skip(1) {
        let counts = read_capture(Path::new(&file), &options, &mut ids, &mut |captured| {
            let Captured::Exchange(exchange) = captured else { return };
            println!(
                "{} {} {} {} {:?} {}+{} bytes {:?} {}",
                exchange.connection_id,
                exchange.started_at,
                exchange.method,
                exchange.path,
                exchange.status,
                exchange.request_bytes,
                exchange.response_bytes,
                exchange.latency_nanos(),
                exchange.completeness.as_str(),
            );
        })?;
        println!("{file}: {counts:?}");
    }
    Ok(())
}
