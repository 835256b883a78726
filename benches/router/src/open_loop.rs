//! Requests at fixed times, whatever became of those before; latency counts from the intended time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Sends requests over one connection and returns how late each answer was whole.
pub(crate) fn run(address: SocketAddr, rate_hz: u32, time: Duration) -> io::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let count = (time.as_secs_f64() * f64::from(rate_hz)) as u32;
    let mut latencies = Vec::with_capacity(count as usize);
    let start = Instant::now() + Duration::from_millis(50);
    let mut buffer = vec![0; 64 << 10];
    for index in 0..count {
        let intended = start + Duration::from_secs(1) * index / rate_hz;
        if let Some(ahead) = intended.checked_duration_since(Instant::now()) {
            thread::sleep(ahead);
        }
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream, &mut buffer)?;
        latencies.push(intended.elapsed());
    }
    Ok(latencies)
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|it| it == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            return Err(io::Error::other("an answer was not 200"));
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length = length.and_then(|it| it.trim().parse::<usize>().ok());
        let length = length.ok_or_else(|| io::Error::other("an answer had no length"))?;
        if filled >= head + 4 + length {
            return Ok(());
        }
    }
}
