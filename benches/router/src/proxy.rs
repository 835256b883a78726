//! The programs that are measured, and the instances behind them.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Clock ticks per second of `/proc/<pid>/stat` (`USER_HZ`, 100 on every Linux that Debian builds).
const TICKS: f64 = 100.0;

/// Something that answers.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pid: Option<u32>,
}

/// Everything that was started; it ends with this.
pub(crate) struct Proxies {
    folder: PathBuf,
    children: Vec<Child>,
    targets: [SocketAddr; 3],
}

// === impl Target ===

impl Target {
    /// Returns the CPU time that the process has used, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>, Box<dyn Error>> {
        let Some(pid) = self.pid else { return Ok(None) };
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = text.rsplit_once(") ").ok_or("no name")?.1.split(' ').collect();
        Ok(Some((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS))
    }
}

// === impl Proxies ===

impl Proxies {
    pub(crate) fn start(program: &str) -> Result<Self, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("router-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let [first, second, haproxy, router] = free_addresses()?;
        let mut all = Self { folder, children: Vec::new(), targets: [first, haproxy, router] };
        let folder = all.folder.clone();
        let path = |name: &str| folder.join(name);
        fs::write(path("nginx.conf"), nginx(&folder, [first, second]))?;
        all.spawn("1", "nginx", &[Path::new("-c"), &path("nginx.conf")])?;
        fs::write(path("haproxy.cfg"), haproxy_text(haproxy, [first, second]))?;
        all.spawn("0", "haproxy", &[Path::new("-f"), &path("haproxy.cfg")])?;
        let home = path("home");
        let arguments = ["router", "--threads", "1", "--home"].map(Path::new);
        all.spawn("0", program, &[&arguments[..], &[&home]].concat())?;
        wait(|| UnixStream::connect(home.join("router.sock")).is_ok())?;
        route(&home.join("router.sock"), router, [first, second])?;
        for address in [first, second, haproxy, router] {
            wait(|| TcpStream::connect(address).is_ok())?;
        }
        Ok(all)
    }

    /// Returns what is measured: an instance without a proxy, HAProxy, our router.
    pub(crate) fn targets(&self) -> [Target; 3] {
        let pid = |index: usize| Some(self.children[index].id());
        let [direct, haproxy, router] = self.targets;
        [
            Target { name: "direct", address: direct, pid: None },
            Target { name: "haproxy", address: haproxy, pid: pid(1) },
            Target { name: "router", address: router, pid: pid(2) },
        ]
    }

    fn spawn(&mut self, core: &str, program: &str, with: &[&Path]) -> Result<(), Box<dyn Error>> {
        let mut command = Command::new("taskset");
        command.args(["-c", core, program]).args(with);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.children.push(command.spawn()?);
        Ok(())
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        for child in &mut self.children {
            // nginx ends its worker only when it is asked.
            drop(Command::new("kill").arg(child.id().to_string()).status());
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn free_addresses() -> Result<[SocketAddr; 4], Box<dyn Error>> {
    let listeners: Vec<TcpListener> =
        (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<_> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    Ok(addresses.try_into().map_err(|_| "four addresses")?)
}

fn nginx(folder: &Path, listen: [SocketAddr; 2]) -> String {
    let (folder, body) = (folder.display(), "x".repeat(1_024));
    let servers = listen
        .map(|it| format!("server {{ listen {it}; location / {{ return 200 '{body}'; }} }}\n"));
    format!(
        "daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 600s;\n{}}}\n",
        servers.concat()
    )
}

fn haproxy_text(listen: SocketAddr, [first, second]: [SocketAddr; 2]) -> String {
    format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 option forwardfor\n  http-reuse always\n\
         frontend entry\n  bind {listen}\n  default_backend all\n\
         backend all\n  balance roundrobin\n  server first {first} weight 90\n  server second {second} weight 10\n"
    )
}

fn route(
    socket: &Path,
    listen: SocketAddr,
    [first, second]: [SocketAddr; 2],
) -> Result<(), Box<dyn Error>> {
    let body = format!(
        r#"{{"revision":0,"fronts":{{"entry":{{"listen":"{listen}","source":"client","destination":"app","observed":true,
        "arms":[{{"name":"candidate","weight":10000,"backends":["{second}"]}},{{"name":"stable","weight":90000,"backends":["{first}"]}}]}}}}}}"#
    );
    let mut stream = UnixStream::connect(socket)?;
    let length = body.len();
    write!(
        stream,
        "PUT /routing HTTP/1.1\r\nhost: router\r\nif-match: 0\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer.into()) }
}

fn wait(is_there: impl Fn() -> bool) -> Result<(), Box<dyn Error>> {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_there() {
        if Instant::now() > until {
            return Err("a program did not come up in ten seconds".into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
