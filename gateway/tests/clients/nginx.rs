//! nginx in front of a gateway, with its default `proxy_pass`: it speaks HTTP/1.0 to what is behind it.
//!
//! Owns the process and its directory. Only the program is used: no service of it is touched.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::free_port::free_port;
use crate::program::{has_ended, is_installed};

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Ports are tried this often: nginx cannot be handed one that the system chose.
const PORTS_TRIED_MAX: usize = 8;

pub(crate) struct Nginx {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// In front of `upstream`; `None` where nginx is missing, and may be.
    pub(crate) fn start(upstream: SocketAddr) -> Option<Self> {
        // Where Debian installs it is not on everybody's path.
        let program = ["nginx", "/usr/sbin/nginx"].into_iter().find(|program| {
            Command::new(program)
                .arg("-v")
                .stderr(Stdio::null())
                .status()
                .is_ok()
        });
        let Some(program) = program else {
            is_installed("nginx");
            return None;
        };
        (0..PORTS_TRIED_MAX)
            .find_map(|_| Self::try_start(program, upstream))
            .or_else(|| panic!("nginx does not start"))
    }

    fn try_start(program: &str, upstream: SocketAddr) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let directory = TempDir::with_prefix("faam-nginx-").expect("a directory");
        let path = directory.path().display();
        // As root its workers would be others, who may not write here.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};\n"))
            .concat();
        let config = format!(
            "{user}\ndaemon off;\nworker_processes 1;\npid {path}/pid;\nerror_log stderr error;\nevents {{}}\n\
             http {{\n{temporary}access_log off;\nclient_max_body_size 0;\n\
             server {{\nlisten {address};\nlocation / {{ proxy_pass http://{upstream}; }}\n}}\n}}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, config).expect("written");
        let child = Command::new(program)
            .arg("-p")
            .arg(directory.path())
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Self {
            child,
            address,
            _directory: directory,
        };
        let until = Instant::now() + START_LIMIT;
        while std::net::TcpStream::connect(address).is_err() {
            // It ends where somebody else took the port.
            if has_ended(&nginx.child, Duration::from_millis(10)) || Instant::now() > until {
                return None;
            }
        }
        Some(nginx)
    }

    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers with it only where it may say so.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        if !has_ended(&self.child, START_LIMIT) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
