//! A listening Unix socket and its place in the file system.
//!
//! Invariants: a socket on which somebody listens is never replaced, nor anything that is no socket; of several who find
//! a stale one exactly one replaces it, in one step, by one that has its mode already; at the end only our own is removed.
//! It knows no HTTP.
//!
//! Between a look at a socket and its replacement another may have replaced it: so whoever listens holds a lock beside the
//! socket, from before that look until its own has gone.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use tempfile::NamedTempFile;
use thiserror::Error;

/// Owner and group may connect; nobody else.
pub const UNIX_SOCKET_MODE: u32 = 0o660;
/// What the lock beside a socket is called: the socket's name, and this.
const LOCK_SUFFIX: &str = ".lock";
/// How often a lock is taken anew whose last holder has just removed its file.
const LOCK_ATTEMPTS_MAX: usize = 16;
/// Random characters of a socket's name until it is moved to its place: few, for the system takes no long paths there
/// (unix(7), sun_path).
const MADE_NAME_CHARS: usize = 6;

/// Where a Unix socket is to be, and who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixListen {
    /// Its path.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl UnixListen {
    /// Whether it could be listened on now. It changes nothing.
    ///
    /// # Errors
    /// [`UnixBindError`]
    pub fn check(&self) -> Result<(), UnixBindError> {
        SocketLock::check(&self.path)?;
        self.check_place()
    }

    /// Whether what is there may be replaced, and where it is may be written to.
    fn check_place(&self) -> Result<(), UnixBindError> {
        let path = &self.path;
        let other = |source| UnixBindError::Other {
            path: path.clone(),
            source,
        };
        SocketAddr::from_pathname(path).map_err(other)?;
        match fs::symlink_metadata(path) {
            Ok(there) => check_stale(path, &there)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(other(error)),
        }
        access(directory_of(path), Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|errno| other(errno.into()))
    }
}

/// Why a Unix socket cannot be listened on.
#[derive(Debug, Error)]
pub enum UnixBindError {
    /// Somebody listens there.
    #[error(
        "{path}: somebody listens on this socket, or is about to; stop them, or choose another with --unix-listen"
    )]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{path} is there and is no socket; move it away, or choose another with --unix-listen")]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// Whether somebody listens there cannot be told.
    #[error(
        "cannot lock {lock}, which says who listens; make it this user's, remove it if nobody listens there, or choose \
         another socket with --unix-listen"
    )]
    Lock {
        /// The lock.
        lock: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Any other reason.
    #[error(
        "cannot listen on {path}; make its directory writable, or choose another with --unix-listen"
    )]
    Other {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A socket that is listened on. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    /// Non-blocking; `None` once it was taken.
    listener: Option<UnixListener>,
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Let go of once the socket's file has gone.
    _lock: SocketLock,
}

impl UnixSocket {
    /// Listens.
    ///
    /// # Errors
    /// [`UnixBindError`]
    pub fn bind(listen: &UnixListen) -> Result<Self, UnixBindError> {
        let path = &listen.path;
        let other = |source| UnixBindError::Other {
            path: path.clone(),
            source,
        };
        listen.check()?;
        let lock = SocketLock::take(path)?;
        // Again, for now nobody changes it.
        listen.check_place()?;
        // Made beside its place and moved there: nobody meets it without its mode.
        let bind = || {
            let made: NamedTempFile<UnixListener> = tempfile::Builder::new()
                .prefix(".")
                .rand_bytes(MADE_NAME_CHARS)
                .make_in(directory_of(path), |made| UnixListener::bind(made))?;
            made.as_file().set_nonblocking(true)?;
            fs::set_permissions(made.path(), Permissions::from_mode(listen.mode))?;
            let metadata = fs::symlink_metadata(made.path())?;
            let listener = made.persist(path).map_err(|error| error.error)?;
            Ok((listener, metadata))
        };
        let (listener, metadata) = bind().map_err(other)?;
        Ok(Self {
            listener: Some(listener),
            path: path.clone(),
            device: metadata.dev(),
            inode: metadata.ino(),
            _lock: lock,
        })
    }

    /// The listener, once.
    pub(super) const fn take_listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket's file stays");
        }
    }
}

/// The right to a socket's place, while its file is open and locked. Nobody waits for it.
#[derive(Debug)]
struct SocketLock {
    _file: File,
    path: PathBuf,
}

impl SocketLock {
    fn take(socket: &Path) -> Result<Self, UnixBindError> {
        let path = lock_path(socket);
        let error = |source| UnixBindError::Lock {
            lock: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let file = options.open(&path).map_err(error)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(taken(socket)),
                Err(errno) => return Err(error(errno.into())),
            }
            // Whoever had it may have removed it meanwhile: a lock that has no name keeps nobody away.
            let ours = file.metadata().map_err(error)?;
            let named = fs::symlink_metadata(&path);
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Self { _file: file, path });
            }
        }
        Err(taken(socket))
    }

    /// Whether nobody has it. Looked at, not taken: another who looks as well is no hindrance.
    fn check(socket: &Path) -> Result<(), UnixBindError> {
        let path = lock_path(socket);
        let looked = match File::open(&path) {
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(UnixBindError::Lock { lock: path, source }),
        };
        match looked {
            Ok(()) => Ok(()),
            Err(Errno::WOULDBLOCK) => Err(taken(socket)),
            Err(errno) => Err(UnixBindError::Lock {
                lock: path,
                source: errno.into(),
            }),
        }
    }
}

impl Drop for SocketLock {
    fn drop(&mut self) {
        // Still locked: whoever has opened it by then finds that it has no name any more, and begins anew.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the socket's lock stays");
        }
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(LOCK_SUFFIX);
    path.into()
}

fn directory_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

fn taken(socket: &Path) -> UnixBindError {
    UnixBindError::Taken {
        path: socket.to_owned(),
    }
}

/// A socket may be replaced if nobody answers there.
fn check_stale(path: &Path, there: &Metadata) -> Result<(), UnixBindError> {
    if !there.file_type().is_socket() {
        return Err(UnixBindError::NoSocket {
            path: path.to_owned(),
        });
    }
    match UnixStream::connect(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            ) =>
        {
            Ok(())
        }
        // A full backlog (EAGAIN) is somebody as well.
        Ok(_) => Err(taken(path)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(taken(path)),
        Err(source) => Err(UnixBindError::Other {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    fn listen(directory: &Path, mode: u32) -> UnixListen {
        UnixListen {
            path: directory.join("faam.sock"),
            mode,
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = listen(directory.path(), UNIX_SOCKET_MODE);
        // What a killed process leaves.
        drop(UnixListener::bind(&listen.path).expect("bound"));
        let socket = UnixSocket::bind(&listen).expect("replaced");
        let mode = fs::metadata(&listen.path).expect("there").mode();
        assert_eq!(mode & 0o777, UNIX_SOCKET_MODE);
        let error = UnixSocket::bind(&listen).expect_err("somebody listens");
        assert!(matches!(error, UnixBindError::Taken { .. }), "{error}");
        drop(socket);
        assert!(!listen.path.exists());
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    }

    #[test]
    fn of_many_that_find_a_stale_socket_one_has_it_and_stays_reachable() {
        /// Starts of as many at once.
        const ROUNDS: usize = 50;
        const RIVALS: usize = 4;
        let directory = tempfile::tempdir().expect("a directory");
        let listen = listen(directory.path(), 0o600);
        for round in 0..ROUNDS {
            drop(UnixListener::bind(&listen.path).expect("bound"));
            let barrier = Barrier::new(RIVALS);
            let started: Vec<_> = thread::scope(|scope| {
                let rivals = [(); RIVALS].map(|()| {
                    scope.spawn(|| {
                        barrier.wait();
                        UnixSocket::bind(&listen)
                    })
                });
                rivals.map(|rival| rival.join().expect("no panic")).into()
            });
            let (served, refused): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
            assert_eq!(served.len(), 1, "round {round}: {refused:?}");
            for refused in refused {
                let error = refused.expect_err("refused");
                assert!(matches!(error, UnixBindError::Taken { .. }), "{error}");
                assert!(error.to_string().contains("--unix-listen"), "{error}");
            }
            // Who connects reaches the one that has it.
            let mut socket = served.into_iter().flatten().next().expect("one");
            let listener = socket.take_listener().expect("it listens");
            let _caller = UnixStream::connect(&listen.path).expect("reachable");
            // It does not block: the connection is there already, or it is another's.
            assert!(listener.accept().is_ok(), "round {round}");
            drop((listener, socket));
            assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
        }
    }

    #[test]
    fn what_a_killed_process_leaves_of_its_lock_holds_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = listen(directory.path(), 0o600);
        fs::write(lock_path(&listen.path), "").expect("written");
        let socket = UnixSocket::bind(&listen).expect("bound");
        assert!(UnixStream::connect(socket.path()).is_ok());
        // Taken by its lock alone, also where nobody listens yet.
        fs::remove_file(&listen.path).expect("removed");
        let error = UnixSocket::bind(&listen).expect_err("it is locked");
        assert!(matches!(error, UnixBindError::Taken { .. }), "{error}");
        assert!(matches!(listen.check(), Err(UnixBindError::Taken { .. })));
        drop(socket);
        listen.check().expect("free again");
        UnixSocket::bind(&listen).expect("bound");
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_path_may_be_as_long_as_the_system_takes_one() {
        /// sun_path of unix(7), less the 0 at its end.
        const PATH_BYTES_MAX: usize = 107;
        let directory = tempfile::tempdir().expect("a directory");
        let room = PATH_BYTES_MAX - directory.path().as_os_str().len() - 1;
        let mut listen = listen(directory.path(), UNIX_SOCKET_MODE);
        listen.path = directory.path().join("s".repeat(room));
        listen.check().expect("it can be bound");
        let socket = UnixSocket::bind(&listen).expect("bound");
        assert!(UnixStream::connect(socket.path()).is_ok());
        listen.path = directory.path().join("s".repeat(room + 1));
        assert!(listen.check().is_err() && UnixSocket::bind(&listen).is_err());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = listen(directory.path(), 0o600);
        fs::write(&listen.path, "somebody's data").expect("written");
        let error = UnixSocket::bind(&listen).expect_err("it is a file");
        assert!(matches!(error, UnixBindError::NoSocket { .. }), "{error}");
        assert_eq!(
            fs::read(&listen.path).expect("still there"),
            b"somebody's data"
        );
    }

    #[test]
    fn a_successors_socket_is_not_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let listen = listen(directory.path(), 0o600);
        let mut first = UnixSocket::bind(&listen).expect("bound");
        drop(first.take_listener());
        assert!(UnixSocket::bind(&listen).is_err(), "it is still its own");
        // One who knows of no lock. Ours is moved and not removed: its number would be free for the other's.
        fs::rename(&listen.path, directory.path().join("old")).expect("moved");
        let _second = UnixListener::bind(&listen.path).expect("bound");
        drop(first);
        assert!(UnixStream::connect(&listen.path).is_ok());
        assert!(UnixSocket::bind(&listen).is_err(), "somebody listens");
    }
}
