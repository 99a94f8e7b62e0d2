//! Files in, files out: names, content, metadata, exit status. gzip itself is the other side.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::faam::{Place, noise, run, text};

#[test]
fn files_go_there_and_back_in_every_format() {
    let place = Place::new();
    let original = text(700_000);
    for (format, suffix) in [
        ("gzip", "gz"),
        ("zlib", "zz"),
        ("deflate", "deflate"),
        ("zstd", "zst"),
        ("lz4", "lz4"),
    ] {
        place.write("x.txt", &original);
        place
            .run(&["compress", "--format", format, "-9", "x.txt"])
            .check(0, &[])
            .silent();
        let name = format!("x.txt.{suffix}");
        assert_eq!(place.names(), [name.as_str()]);
        if format == "gzip" {
            let gzip = Command::new("gzip")
                .arg("-t")
                .arg(place.dir.path().join(&name))
                .status();
            assert!(gzip.expect("gzip runs").success());
        }
        place.run(&["decompress", &name]).check(0, &[]).silent();
        assert_eq!(place.names(), ["x.txt"]);
        assert!(place.read("x.txt") == original, "{format}: other bytes");
    }
}

#[test]
fn standard_streams_go_there_and_back() {
    let place = Place::new();
    for original in [text(3_000_000), noise(1_000_000), Vec::new(), b"x".to_vec()] {
        let packed = place
            .pipe(&["compress", "-12"], &original)
            .check(0, &[])
            .silent();
        let mut gunzip = Command::new("gzip");
        gunzip
            .arg("-dc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        assert!(
            run(gunzip, &packed.stdout).check(0, &[]).stdout == original,
            "gzip reads it"
        );

        let mut gzip = Command::new("gzip");
        gzip.arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let packed = run(gzip, &original).check(0, &[]);
        for words in [
            &["decompress"][..],
            &["compress", "-d", "-"],
            &["decompress", "-c"],
        ] {
            let plain = place.pipe(words, &packed.stdout).check(0, &[]).silent();
            assert!(plain.stdout == original, "{words:?}");
        }
    }
}

#[test]
fn permissions_owner_and_times_are_kept() {
    let place = Place::new();
    place.write("x", text(1000));
    let path = place.dir.path().join("x");
    let packed = place.dir.path().join("x.gz");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_577_934_245, 123_456_789);
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("open");
    file.set_modified(time).expect("set");
    file.set_permissions(std::fs::Permissions::from_mode(0o4640))
        .expect("set");
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&path, Some(12345), Some(54321)).expect("chown");
    }
    let before = std::fs::metadata(&path).expect("there");
    place.run(&["compress", "x"]).check(0, &[]);
    let after = std::fs::metadata(&packed).expect("there");
    assert_eq!(after.mode() & 0o7777, 0o640, "never set-user-ID");
    assert_eq!(after.modified().expect("a time"), time);
    assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    place.run(&["decompress", "x.gz"]).check(0, &[]);
    let back = std::fs::metadata(&path).expect("there");
    assert_eq!(back.modified().expect("a time"), time);
    assert_eq!((back.uid(), back.mode() & 0o7777), (before.uid(), 0o640));
}

#[test]
fn what_is_there_is_not_overwritten_without_force() {
    let place = Place::new();
    place.write("x", text(1000));
    place.write("x.gz", "before");
    place
        .run(&["compress", "x"])
        .check(2, &["x.gz already exists", "-f"]);
    assert_eq!(place.read("x.gz"), b"before");
    assert_eq!(place.names(), ["x", "x.gz"]);
    place.run(&["compress", "-q", "x"]).check(2, &[]).silent();
    place.run(&["compress", "-f", "x"]).check(0, &[]);
    assert_eq!(place.names(), ["x.gz"]);
    place.write("x", "before");
    place
        .run(&["decompress", "x.gz"])
        .check(2, &["x already exists"]);
    assert_eq!(place.read("x"), b"before");
    place.run(&["decompress", "-kf", "x.gz"]).check(0, &[]);
    assert!(place.read("x") == text(1000));
    assert_eq!(place.names(), ["x", "x.gz"]);
}

#[test]
fn what_is_no_file_of_its_own_is_left_alone() {
    let place = Place::new();
    let at = |name: &str| place.dir.path().join(name);
    place.write("x", text(100));
    symlink("x", at("link")).expect("linked");
    std::fs::hard_link(at("x"), at("other")).expect("linked");
    std::fs::create_dir(at("dir")).expect("made");
    let fifo = Command::new("mkfifo").arg(at("fifo")).status();
    assert!(fifo.expect("mkfifo runs").success());
    let before = place.names();
    for (name, words) in [
        ("link", ["symbolic link", "-f"]),
        ("x", ["1 other name", "-k"]),
        ("dir", ["directory", "ignored"]),
        ("fifo", ["not a regular file", "ignored"]),
    ] {
        place.run(&["compress", name]).check(2, &words);
        assert_eq!(place.names(), before, "{name}");
    }
    place.write("y.gz", "whatever");
    place
        .run(&["compress", "y.gz"])
        .check(2, &["already has the suffix .gz"]);
    place
        .run(&["decompress", "-k", "x"])
        .check(2, &["unknown suffix"]);
    place.run(&["compress", "-c", "link"]).check(0, &[]);
    place.run(&["compress", "-k", "x"]).check(0, &[]);
    place.run(&["compress", "-f", "link"]).check(0, &[]);
    assert!(place.names().contains(&"link.gz".to_owned()));
    assert!(
        !place.names().contains(&"link".to_owned()),
        "the link goes, its file stays"
    );
    assert!(place.names().contains(&"x".to_owned()));
}

#[test]
fn one_bad_file_does_not_keep_the_others() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(name, text(5000));
    }
    place
        .run(&["compress", "a", "missing", "b", "c"])
        .check(1, &["missing: No such file or directory\n"]);
    assert_eq!(place.names(), ["a.gz", "b.gz", "c.gz"]);
    let mut torn = place.read("b.gz");
    torn.truncate(torn.len() - 20);
    place.write("b.gz", &torn);
    let ended = place.run(&["decompress", "--json", "a.gz", "b.gz", "c"]);
    let ended = ended.check(1, &["b.gz: ", "422 corrupt-input"]);
    assert_eq!(
        place.names(),
        ["a", "b.gz", "c"],
        "c was found with its suffix"
    );
    let lines: Vec<serde_json::Value> = ended
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line of JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (&lines[0]["status"], &lines[0]["bytes_out"]),
        (&"ok".into(), &5000.into())
    );
    assert_eq!(
        (&lines[0]["verify"], &lines[0]["target"]),
        (&"ok".into(), &"a".into())
    );
    assert_eq!(lines[1]["status"], "error");
    assert!(
        lines[1]["error"]
            .as_str()
            .expect("text")
            .contains("corrupt-input")
    );
}

#[test]
fn a_test_writes_nothing_and_says_what_is_torn() {
    let place = Place::new();
    place.write("x", noise(300_000));
    place.run(&["compress", "-k", "x"]).check(0, &[]);
    place
        .run(&["decompress", "-t", "x.gz"])
        .check(0, &[])
        .silent();
    place
        .run(&["compress", "-tv", "x.gz"])
        .check(0, &["x.gz: OK, 1.0x", "cpu, verified"]);
    let mut bytes = place.read("x.gz");
    bytes[150_000] ^= 1;
    place.write("x.gz", &bytes);
    place
        .run(&["decompress", "-t", "x.gz"])
        .check(1, &["x.gz: ", "corrupt"]);
    assert_eq!(place.names(), ["x", "x.gz"]);
}

#[test]
fn suffixes_can_be_named() {
    let place = Place::new();
    place.write("x", text(100));
    place.run(&["compress", "-S", ".mine", "x"]).check(0, &[]);
    assert_eq!(place.names(), ["x.mine"]);
    place
        .run(&["decompress", "x.mine"])
        .check(2, &["unknown suffix"]);
    place
        .run(&["decompress", "--suffix=.mine", "x"])
        .check(0, &[]);
    assert_eq!(place.names(), ["x"]);
    place.write("t.tgz", place.pipe(&["compress"], b"tar").stdout);
    place.run(&["decompress", "t.tgz"]).check(0, &[]);
    assert_eq!(place.read("t.tar"), b"tar");
}

#[test]
fn what_is_not_offered_says_so() {
    let place = Place::new();
    place.write("x", text(100));
    place.run(&["compress", "-r", "."]).check(1, &["find"]);
    place.run(&["decompress", "-l", "x"]).check(1, &["gzip -l"]);
    place
        .run(&["compress", "--format", "br", "x"])
        .check(1, &["gzip", "br"]);
    place
        .run(&["compress", "--level", "13", "x"])
        .check(1, &["1 (fastest) to 12"]);
    assert_eq!(place.names(), ["x"]);
    place
        .run(&["compress", "-N", "x"])
        .check(2, &["-N has no effect"]);
    assert_eq!(place.names(), ["x.gz"]);
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let place = Place::new();
    place.write("x", noise(4_000_000));
    let mut command = place.faam(&["compress", "-c", "x"]);
    let mut child = command.spawn().expect("starts");
    drop(child.stdout.take());
    let ended = crate::faam::finish(child);
    assert_eq!(
        ended.code, None,
        "ended by SIGPIPE, as gzip: {}",
        ended.stderr
    );
    assert_eq!(ended.stderr, "");
}
