//! A contender's server as a process: started on the servers' processor, waited for, counted, ended.
//!
//! Invariants: a server listens on 127.0.0.1 alone, on a port that was free; whatever was started is killed and reaped
//! when its [`Server`] is dropped, and dies with the rig where `setpriv` can arrange that. It knows nothing of load.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::connection::Connection;
use crate::contender::{Contender, Row};
use crate::load::Aim;
use crate::process::{Memory, descendants, pin_thread};

/// How long a server may take to listen, and a card to come into service.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long the processes that a server started may take to follow it.
const FOLLOW_LIMIT: Duration = Duration::from_secs(5);
/// What a server prints before its address.
const LISTENING: &str = "listening on ";
/// Pause between two looks at a server that is not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Ports that are tried for a server that cannot choose one itself.
const PORT_TRIES: usize = 5;

/// Programs, and where servers run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// `faam`.
    pub(crate) faam: PathBuf,
    /// Another build of it, to compare with.
    pub(crate) before: Option<PathBuf>,
    /// Where `rig-echo`, `rig-bare` and `rig-naive` are.
    pub(crate) own_dir: PathBuf,
    /// The rig's sources of other servers.
    pub(crate) sources: PathBuf,
    /// Processor of the servers.
    pub(crate) server_cpu: usize,
    /// Processor of the load generator, and of what a server needs but is not measured for.
    pub(crate) load_cpu: usize,
}

impl Programs {
    /// Why a row cannot run here; `None` if it can.
    pub(crate) fn missing(&self, row: Row) -> Option<String> {
        let lacks = |program: &str, package: &str| {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let found = found.is_ok_and(|status| status.success());
            (!found)
                .then(|| format!("{program} is not installed (sudo apt-get install -y {package})"))
        };
        match row.contender {
            Contender::Nginx => lacks("nginx", "nginx-light"),
            Contender::Node => lacks("node", "nodejs"),
            Contender::FaamCpuUnverified => {
                let help = Command::new(&self.faam).args(["serve", "--help"]).output();
                let knows = help
                    .is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--verify"));
                (!knows).then(|| "faam serve has no --verify".to_owned())
            }
            Contender::FaamBefore if self.before.is_none() => {
                Some("no other build was named with --before".to_owned())
            }
            _ => None,
        }
    }
}

/// A running server.
pub(crate) struct Server {
    /// The process, and what it needs besides: nginx's upstream.
    children: Vec<Child>,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    key: Option<String>,
    /// Its card's process, if it has one.
    card: Vec<u32>,
    _dir: tempfile::TempDir,
}

impl Server {
    /// Starts the server of a row, for bodies of `body_bytes`, with further arguments for `faam serve`.
    ///
    /// # Errors
    /// It did not come up.
    pub(crate) fn start(
        programs: &Programs,
        row: Row,
        body_bytes: usize,
        faam_arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let started = match row.contender {
            Contender::Echo => Self::own(programs, dir, "rig-echo", &[]),
            Contender::Bare => Self::own(programs, dir, "rig-bare", &[level_of(row)]),
            Contender::BareUnverified => {
                let arguments = [level_of(row), "unverified".to_owned()];
                Self::own(programs, dir, "rig-bare", &arguments)
            }
            Contender::Naive => Self::own(programs, dir, "rig-naive", &[level_of(row)]),
            Contender::Node => {
                let script = programs.sources.join("servers/node.js");
                let mut command = bound("node");
                command.arg(script).arg(level_of(row));
                Self::printing(dir, command, programs.server_cpu, LISTENING)
            }
            Contender::Nginx => Self::nginx(programs, dir, row, body_bytes),
            Contender::FaamCpu
            | Contender::FaamCpuUnverified
            | Contender::FaamLimited
            | Contender::FaamBefore
            | Contender::FaamCard
            | Contender::FaamAuto => Self::faam(programs, dir, row, faam_arguments),
            Contender::FaamSpans => Self::spans(programs, dir, row, faam_arguments),
        };
        started.with_context(|| format!("the server of {row} did not come up"))
    }

    fn own(
        programs: &Programs,
        dir: tempfile::TempDir,
        name: &str,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let mut command = bound(&programs.own_dir.join(name).to_string_lossy());
        command.args(arguments);
        Self::printing(dir, command, programs.server_cpu, LISTENING)
    }

    /// A server that prints where it listens.
    fn printing(
        dir: tempfile::TempDir,
        command: Command,
        cpu: usize,
        last_mark: &str,
    ) -> anyhow::Result<Self> {
        let (child, address) = spawn(command, dir.path(), cpu, last_mark)?;
        Ok(Self {
            children: vec![child],
            address,
            admin: None,
            key: None,
            card: Vec::new(),
            _dir: dir,
        })
    }

    fn nginx(
        programs: &Programs,
        dir: tempfile::TempDir,
        row: Row,
        body_bytes: usize,
    ) -> anyhow::Result<Self> {
        // The upstream shares the load's processor: nginx has its own to itself, and is counted alone.
        let upstream = bound(&programs.own_dir.join("rig-echo").to_string_lossy());
        let (upstream, upstream_address) =
            spawn(upstream, dir.path(), programs.load_cpu, LISTENING)?;
        let mut server = Self {
            children: vec![upstream],
            address: upstream_address,
            admin: None,
            key: None,
            card: Vec::new(),
            _dir: dir,
        };
        let template = std::fs::read_to_string(programs.sources.join("servers/nginx.conf"))
            .context("cannot read nginx's configuration")?;
        for _ in 0..PORT_TRIES {
            // nginx takes no port 0: one that was free a moment ago.
            let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let buffering = if body_bytes > 1 << 20 { "off" } else { "on" };
            let config = template
                .replace("@DIR@", &server._dir.path().to_string_lossy())
                .replace("@UPSTREAM@", &upstream_address.to_string())
                .replace("@LISTEN@", &free.to_string())
                .replace("@LEVEL@", &level_of(row))
                .replace("@REQUEST_BUFFERING@", buffering);
            let path = server._dir.path().join("nginx.conf");
            std::fs::write(&path, config)?;
            let mut command = bound("nginx");
            command
                .arg("-c")
                .arg(&path)
                .arg("-p")
                .arg(server._dir.path());
            let mut child = start(command, server._dir.path(), programs.server_cpu)?;
            let until = Instant::now() + READY_LIMIT;
            while child.try_wait()?.is_none() && Instant::now() < until {
                if std::net::TcpStream::connect(free).is_ok() {
                    server.children.insert(0, child);
                    server.address = free;
                    return Ok(server);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        anyhow::bail!("nginx did not listen: {}", log_of(server._dir.path()))
    }

    /// A gateway whose spans go to a collector on the load's processor, which is not counted.
    fn spans(
        programs: &Programs,
        dir: tempfile::TempDir,
        row: Row,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let collector = bound(&programs.own_dir.join("rig-echo").to_string_lossy());
        let collector_dir = tempfile::tempdir()?;
        let (collector, address) = spawn(
            collector,
            collector_dir.path(),
            programs.load_cpu,
            LISTENING,
        )?;
        let endpoint = format!("http://{address}");
        let mut all = arguments.to_vec();
        all.extend(["--otlp-endpoint", &endpoint]);
        let started = Self::faam(programs, dir, row, &all);
        match started {
            Ok(mut server) => {
                server.children.push(collector);
                Ok(server)
            }
            Err(error) => {
                let mut collector = collector;
                let _ = collector.kill();
                let _ = collector.wait();
                Err(error)
            }
        }
    }

    fn faam(
        programs: &Programs,
        dir: tempfile::TempDir,
        row: Row,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let program = match (row.contender, &programs.before) {
            (Contender::FaamBefore, Some(before)) => before,
            _ => &programs.faam,
        };
        let mut command = bound(&program.to_string_lossy());
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(dir.path().join("data"));
        if !arguments.contains(&"--devices") {
            command.args(["--devices", if row.has_card() { "sim" } else { "none" }]);
        }
        if row.contender == Contender::FaamCpuUnverified {
            command.args(["--verify", "off"]);
        }
        command.args(arguments);
        let mut server = Self::printing(dir, command, programs.server_cpu, "/metrics")?;
        let data = server._dir.path().join("data");
        let key = std::fs::read_to_string(data.join("demo.key")).context("no demo.key")?;
        server.key = Some(if row.contender == Contender::FaamLimited {
            limited_tenant(&programs.faam, &data)?
        } else {
            key.trim().to_owned()
        });
        let printed = log_of(server._dir.path());
        server.admin = printed
            .lines()
            .find_map(|line| line.split_once("http://")?.1.split_once("/metrics"))
            .and_then(|(address, _)| address.parse().ok());
        if row.has_card() {
            server.await_cards()?;
        }
        server.card = descendants(server.pid());
        Ok(server)
    }

    /// Waits until every card is in service.
    fn await_cards(&self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_LIMIT;
        while Instant::now() < until {
            let ready = self.get("/readyz").unwrap_or_default();
            let state: serde_json::Value = serde_json::from_str(&ready).unwrap_or_default();
            let cards = state.get("cards").and_then(|cards| cards.as_array());
            let in_service =
                |card: &serde_json::Value| card.get("state").is_some_and(|s| s == "in-service");
            if cards.is_some_and(|cards| !cards.is_empty() && cards.iter().all(in_service)) {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        anyhow::bail!("no card came into service: {}", log_of(self._dir.path()))
    }

    /// Reads a page of the admin listener.
    fn get(&self, path: &str) -> anyhow::Result<String> {
        let admin = self.admin.context("no admin listener was announced")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        let answer = runtime.block_on(async {
            let mut connection = Connection::open(admin).await?;
            let body = bytes::Bytes::new();
            connection.exchange(head.as_bytes(), &body, true).await
        })?;
        Ok(String::from_utf8_lossy(&answer.kept.unwrap_or_default()).into_owned())
    }

    /// What a request to `row` looks like.
    pub(crate) fn aim(&self, row: Row) -> Aim {
        Aim {
            address: self.address,
            path: row.path(),
            headers: row.headers(self.key.as_deref()),
            gzip: row.contender != Contender::Echo,
        }
    }

    /// The server's own process.
    pub(crate) fn pid(&self) -> u32 {
        self.children.first().map_or(0, Child::id)
    }

    /// Processes to count: the server; its card; what it needs on the load's processor.
    pub(crate) fn groups(&self) -> Vec<Vec<u32>> {
        let upstream = self.children.iter().skip(1).map(Child::id).collect();
        vec![vec![self.pid()], self.card.clone(), upstream]
    }

    /// Peak memory of the server, and of its card.
    pub(crate) fn memory(&self) -> anyhow::Result<(Memory, Memory)> {
        let mut card = Memory::default();
        for &pid in &self.card {
            let one = Memory::of(pid)?;
            card.resident_peak_bytes += one.resident_peak_bytes;
            card.huge_bytes += one.huge_bytes;
        }
        Ok((Memory::of(self.pid())?, card))
    }

    /// What it has written.
    pub(crate) fn log(&self) -> String {
        log_of(self._dir.path())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let followers: Vec<u32> = descendants(self.pid());
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A gateway's card ends when its standard input does. One that does not is ended.
        let until = Instant::now() + FOLLOW_LIMIT;
        let alive = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
        while followers.iter().any(|&pid| alive(pid)) && Instant::now() < until {
            std::thread::sleep(LOOK_AGAIN);
        }
        for pid in followers.into_iter().filter(|&pid| alive(pid)) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

fn level_of(row: Row) -> String {
    row.level.unwrap_or_default().to_string()
}

/// Makes a tenant of a running gateway's that has every limit, each far beyond what a run asks for; its key.
fn limited_tenant(faam: &Path, data: &Path) -> anyhow::Result<String> {
    const TENANT: &str = "limited";
    const LIMITS: [&str; 20] = [
        "--weight",
        "200",
        "--cir-us-per-s",
        "100000",
        "--pir-us-per-s",
        "1000000000",
        "--bytes-per-s",
        "1000000000000",
        "--requests-per-s",
        "10000000",
        "--bytes-per-day",
        "1000000000000000",
        "--reference-us-per-day",
        "1000000000000",
        "--queued-blocks-max",
        "1024",
        "--memory-bytes-max",
        "400000000",
        "--spill-bytes-max",
        "1000000000",
    ];
    let call = |arguments: &[&str]| -> anyhow::Result<Vec<u8>> {
        let mut command = bound(&faam.to_string_lossy());
        command.args(arguments).arg("--data-dir").arg(data);
        let answer = command.output().context("cannot run faam")?;
        anyhow::ensure!(
            answer.status.success(),
            "faam {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&answer.stderr)
        );
        Ok(answer.stdout)
    };
    let mut add = vec!["tenant", "add", TENANT];
    add.extend(LIMITS);
    call(&add)?;
    let made = call(&["key", "add", "--tenant", TENANT, "--kind", "api", "--json"])?;
    let made: serde_json::Value = serde_json::from_slice(&made)?;
    let key = made.get("key").and_then(serde_json::Value::as_str);
    Ok(key.context("faam key add printed no key")?.to_owned())
}

/// Prefixes of variables that would change what is measured, were they in the rig's own environment: settings, log, traces,
/// Node's options, tuning of the allocator.
const VARIABLES_KEPT_OUT: [&str; 6] = ["FAAM_", "RUST_", "OTEL_", "NODE_", "MALLOC_", "TOKIO_"];

/// A command whose process gets SIGKILL when the thread that starts it ends, where `setpriv` (util-linux) is; without
/// [`VARIABLES_KEPT_OUT`].
pub(crate) fn bound(program: &str) -> Command {
    let mut command = if Path::new("/usr/bin/setpriv").exists() {
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--pdeathsig", "KILL", program]);
        command
    } else {
        Command::new(program)
    };
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if VARIABLES_KEPT_OUT
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// Starts `command` on processor `cpu`, its output in `dir`.
pub(crate) fn start(mut command: Command, dir: &Path, cpu: usize) -> anyhow::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    spawn_on(&mut command, cpu)
}

/// Starts `command` on processor `cpu`. Children inherit the affinity of the thread that starts them.
pub(crate) fn spawn_on(command: &mut Command, cpu: usize) -> anyhow::Result<Child> {
    let before = crate::process::allowed_cpus()?;
    pin_thread(cpu).with_context(|| format!("cannot use processor {cpu}"))?;
    let child = command.spawn();
    crate::process::allow_cpus(&before)?;
    child.with_context(|| format!("cannot start {:?}", command.get_program()))
}

/// Starts a server that prints `listening on [http://]ADDRESS`, and waits for that and for the line with `last_mark`.
fn spawn(
    mut command: Command,
    dir: &Path,
    cpu: usize,
    last_mark: &str,
) -> anyhow::Result<(Child, SocketAddr)> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    let mut child = spawn_on(&mut command, cpu)?;
    let (send, lines) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        // Ends with the server; its output is read to the end, so that it never blocks on it.
        std::thread::spawn(move || {
            let mut log = log;
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = std::io::Write::write_all(&mut log, format!("{line}\n").as_bytes());
                let _ = send.send(line);
            }
        });
    }
    let until = Instant::now() + READY_LIMIT;
    let mut address = None;
    while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
        if let Some((_, rest)) = line.split_once(LISTENING) {
            address = rest.trim().trim_start_matches("http://").parse().ok();
        }
        if let Some(address) = address.filter(|_| line.contains(last_mark)) {
            return Ok((child, address));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    anyhow::bail!("it did not say where it listens: {}", log_of(dir))
}

fn log_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("log")).unwrap_or_default()
}
