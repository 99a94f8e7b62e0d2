//! A listening Unix socket and its place in the file system.
//!
//! Invariants: a socket on which somebody listens is never replaced, nor anything that is no socket; a stale one is
//! replaced in one step by one that has its mode already; at the end only our own is removed. It knows no HTTP.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use thiserror::Error;

/// Owner and group may connect; nobody else.
pub const UNIX_SOCKET_MODE: u32 = 0o660;

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
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        access(
            directory.unwrap_or(Path::new(".")),
            Access::WRITE_OK | Access::EXEC_OK,
        )
        .map_err(|errno| other(errno.into()))
    }
}

/// Why a Unix socket cannot be listened on.
#[derive(Debug, Error)]
pub enum UnixBindError {
    /// Somebody listens there.
    #[error(
        "{path}: somebody listens on this socket; stop them, or choose another with --unix-listen"
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
        // Made beside its place and moved there: nobody meets it without its mode. Its own name is short, for the system
        // takes no long paths here (unix(7), sun_path).
        let made = path.with_file_name(format!(".{}", std::process::id()));
        // A left-over of a process that had our number.
        if fs::symlink_metadata(&made).is_ok_and(|there| there.file_type().is_socket()) {
            let _ = fs::remove_file(&made);
        }
        let bind = || {
            let listener = UnixListener::bind(&made)?;
            listener.set_nonblocking(true)?;
            fs::set_permissions(&made, Permissions::from_mode(listen.mode))?;
            let metadata = fs::symlink_metadata(&made)?;
            fs::rename(&made, path)?;
            Ok((listener, metadata))
        };
        let (listener, metadata) = bind().map_err(|error| {
            let _ = fs::remove_file(&made);
            other(error)
        })?;
        Ok(Self {
            listener: Some(listener),
            path: path.clone(),
            device: metadata.dev(),
            inode: metadata.ino(),
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
        Ok(_) => Err(UnixBindError::Taken {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(UnixBindError::Taken {
            path: path.to_owned(),
        }),
        Err(source) => Err(UnixBindError::Other {
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
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
        let second = UnixSocket::bind(&listen).expect("the first listens no longer");
        drop(first);
        assert!(UnixStream::connect(second.path()).is_ok());
    }
}
