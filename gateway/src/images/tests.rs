use faam_image::{Description, Ingredients, Revoked, SigningKey, build};

use super::*;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32]).expect("a key")
}

fn trust() -> ImageTrust {
    ImageTrust {
        trusted: vec![key(1).public()],
        revoked: Vec::new(),
    }
}

/// One of the project's images, of a small region.
fn package(kernel: &str, version: u32, key: &SigningKey) -> Vec<u8> {
    let text = match kernel {
        "inflate" => include_str!("../../../bitstreams/images/inflate.toml"),
        _ => include_str!("../../../bitstreams/images/deflate-fast.toml"),
    };
    let mut description = Description::from_toml(text).expect("ours");
    description.simulated_bytes = Some(100);
    description.security_version = version;
    build(&description, &Ingredients::default(), key).expect("builds")
}

fn open(data: &Path) -> ImageStore {
    open_with(data, &trust()).expect("opens")
}

fn open_with(data: &Path, trust: &ImageTrust) -> Result<ImageStore, ImageError> {
    let metrics = Arc::new(Metrics::new());
    ImageStore::open(data, trust, Events::default(), metrics)
}

fn code(error: &ImageError) -> &'static str {
    match error {
        ImageError::Refused(refusal) => refusal.code(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_accepted_is_kept_and_verified_again_before_it_is_given() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let bytes = package("deflate-fast", 1, &key(1));
    let image = store.accept(&bytes, "operator").expect("good").image;
    // Once more is no other one.
    assert_eq!(store.accept(&bytes, "operator").expect("good").image, image);
    drop(store);
    let store = open(data.path());
    assert_eq!(store.list().len(), 1);
    assert_eq!(store.find("deflate-fast"), Some(image));
    assert_eq!(store.find(&image.to_string()), Some(image));
    assert_eq!(store.find("inflate"), None);
    let device = DeviceFacts::simulated();
    let verified = store.verified(image, &device).expect("fits");
    assert!(verified.payload.starts_with(b"FaaMSLOT"));
    // Another device.
    let other = DeviceFacts {
        shell: 7,
        ..device.clone()
    };
    let error = store.verified(image, &other).expect_err("another shell");
    assert_eq!(code(&error), "wrong-shell");
    // Somebody writes to the disk while it runs.
    let path = store
        .0
        .directory
        .read(image)
        .map(|_| data.path().join("images").join(format!("{image}.fgi")));
    let path = path.expect("readable");
    let mut changed = bytes.clone();
    let at = changed.len() - 1100;
    changed[at] ^= 1;
    std::fs::write(&path, &changed).expect("written");
    let error = store.verified(image, &device).expect_err("changed");
    assert!(
        matches!(code(&error), "tampered-file" | "bad-entry"),
        "{error}"
    );
    // And before it starts: it is listed, with why it is not used.
    drop(store);
    let store = open(data.path());
    let listed = store.list();
    assert!(listed[0].refused.is_some(), "{listed:?}");
    assert_eq!(store.find("deflate-fast"), None);
    store.remove(image, "operator").expect("removed");
    assert!(!path.exists());
    assert!(matches!(
        store.remove(image, "operator"),
        Err(ImageError::Missing { .. })
    ));
}

#[test]
fn nobody_goes_behind_a_security_version_not_even_after_its_image_is_gone() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let (old, new) = (
        package("deflate-fast", 1, &key(1)),
        package("deflate-fast", 3, &key(1)),
    );
    let first = store.accept(&old, "operator").expect("the first").image;
    let second = store.accept(&new, "operator").expect("a later one").image;
    assert_eq!(store.find("deflate-fast"), Some(second));
    // The old one is here yet, and not given any more.
    let error = store.verified(first, &DeviceFacts::simulated());
    assert_eq!(code(&error.expect_err("older")), "older");
    store.remove(second, "operator").expect("removed");
    store.remove(first, "operator").expect("removed");
    drop(store);
    let store = open(data.path());
    let error = store.accept(&old, "operator").expect_err("older");
    assert_eq!(code(&error), "older");
    // Another kernel's versions are its own.
    store
        .accept(&package("inflate", 1, &key(1)), "operator")
        .expect("another kernel");
    drop(store);
    std::fs::write(data.path().join("images/floors.json"), "{").expect("written");
    let error = open_with(data.path(), &trust()).expect_err("damaged");
    assert!(error.to_string().contains("floors.json"), "{error}");
}

#[test]
fn a_crash_between_image_and_version_is_made_up_for() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let new = package("deflate-fast", 3, &key(1));
    store.accept(&new, "operator").expect("good");
    drop(store);
    let images = data.path().join("images");
    std::fs::remove_file(images.join("floors.json")).expect("there");
    std::fs::write(images.join("x.new"), "half").expect("written");
    let store = open(data.path());
    assert!(!images.join("x.new").exists());
    let old = package("deflate-fast", 1, &key(1));
    assert_eq!(
        code(&store.accept(&old, "operator").expect_err("older")),
        "older"
    );
}

#[test]
fn what_is_revoked_is_kept_and_not_given() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let bytes = package("inflate", 1, &key(1));
    let image = store.accept(&bytes, "operator").expect("good").image;
    drop(store);
    for (revoked, why) in [
        (Revoked::Image(image), "revoked-image"),
        (Revoked::Key(key(1).public().id()), "revoked-key"),
    ] {
        let trust = ImageTrust {
            revoked: vec![revoked],
            ..trust()
        };
        let store = open_with(data.path(), &trust).expect("opens");
        let refused = store.list().remove(0).refused.expect("refused");
        assert_eq!(refused.code, why);
        let error = store.verified(image, &DeviceFacts::simulated());
        assert_eq!(code(&error.expect_err("revoked")), why);
        assert_eq!(
            code(&store.accept(&bytes, "operator").expect_err("revoked")),
            why
        );
    }
}

#[test]
fn one_that_has_no_room_is_refused_with_the_bound() {
    let mut kept = Kept::default();
    let bytes = package("inflate", 1, &key(1));
    let trust = Trust::new(&trust().trusted, &[]).expect("few");
    let package = Package::read(&bytes, &trust).expect("good");
    let new = ImageSummary::of(package.manifest(), bytes.len());
    for number in 0..IMAGES_MAX as u128 {
        kept.has_room_for(&new).expect("room");
        let old = ImageSummary {
            image: Uuid::from_u128(number),
            ..new.clone()
        };
        kept.images.insert(old.image, old);
    }
    let error = kept.has_room_for(&new).expect_err("no room").to_string();
    assert!(error.contains("faam image rm"), "{error}");
    // In the place of itself it has room.
    let again = ImageSummary {
        image: Uuid::from_u128(0),
        ..new
    };
    kept.has_room_for(&again).expect("its own place");
}

#[test]
fn who_reads_the_index_does_not_wait_for_a_file_that_is_being_written() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let text = include_str!("../../../bitstreams/images/inflate.toml");
    let mut description = Description::from_toml(text).expect("ours");
    // More than a pipe holds: whoever writes it into one waits for its reader.
    description.simulated_bytes = Some(1 << 20);
    let bytes = build(&description, &Ingredients::default(), &key(1)).expect("builds");
    let trusted = Trust::new(&trust().trusted, &[]).expect("few");
    let package = Package::read(&bytes, &trusted).expect("good");
    let image = package.manifest().image;
    let images = data.path().join("images");
    std::fs::create_dir(&images).expect("made");
    let pipe = images.join(format!("{image}.new"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let writer = {
        let (store, bytes) = (store.clone(), bytes.clone());
        std::thread::spawn(move || store.accept(&bytes, "operator"))
    };
    // Opens when the writer has opened it, which cannot end before it is read.
    let reader = std::fs::File::open(&pipe).expect("the writer's end");
    let (told, listed) = std::sync::mpsc::channel();
    let lister = std::thread::spawn(move || {
        // The test may have given it up.
        let _ = told.send((store.list().len(), store.find("inflate")));
    });
    let listed = listed.recv_timeout(std::time::Duration::from_secs(20));
    // The writer ends: with an error, as it was cut off.
    drop(reader);
    assert!(writer.join().expect("no panic").is_err());
    lister.join().expect("no panic");
    assert_eq!(listed, Ok((0, None)));
}

#[test]
fn a_version_that_was_made_up_for_at_the_start_is_remembered_for_good() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let new = package("deflate-fast", 3, &key(1));
    let image = store.accept(&new, "operator").expect("good").image;
    drop(store);
    std::fs::remove_file(data.path().join("images/floors.json")).expect("there");
    let store = open(data.path());
    store.remove(image, "operator").expect("removed");
    drop(store);
    let old = package("deflate-fast", 1, &key(1));
    let error = open(data.path()).accept(&old, "operator");
    assert_eq!(code(&error.expect_err("older")), "older");
}

#[test]
fn what_cannot_be_read_keeps_no_gateway_from_starting() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let bytes = package("inflate", 1, &key(1));
    let image = store.accept(&bytes, "operator").expect("good").image;
    drop(store);
    let images = data.path().join("images");
    let unreadable = Uuid::from_u128(7);
    std::fs::create_dir(images.join(format!("{unreadable}.fgi"))).expect("made");
    std::fs::create_dir(images.join("x.new")).expect("made");
    for name in [image.simple().to_string(), image.to_string().to_uppercase()] {
        std::fs::write(images.join(format!("{name}.fgi")), &bytes).expect("written");
    }
    let store = open(data.path());
    let listed = store.list();
    let refused = |image: &ImageSummary| image.refused.as_ref().map(|it| it.code);
    let mut listed: Vec<_> = listed.iter().map(|it| (it.image, refused(it))).collect();
    listed.sort();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(listed.contains(&(image, None)));
    assert!(listed.contains(&(unreadable, Some("unreadable"))));
    assert_eq!(store.find("inflate"), Some(image));
}

/// What a scrape has of these series, without those that are zero.
fn scraped(store: &ImageStore) -> Vec<String> {
    let text = store.0.metrics.render();
    let ours = text.lines().filter(|line| line.starts_with("faam_image"));
    let there = ours.filter(|line| !line.ends_with(" 0"));
    there.map(str::to_owned).collect()
}

#[test]
fn refusals_are_counted_by_their_reason_and_what_is_kept_by_its_state() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let all = store.0.metrics.render();
    let reasons: Vec<_> = refusal_reasons().collect();
    for reason in &reasons {
        let line = format!(r#"faam_image_refusals_total{{reason="{reason}"}} 0"#);
        assert!(all.lines().any(|got| got == line), "{line} in {all}");
    }
    assert_eq!(
        all.matches("faam_image_refusals_total{").count(),
        reasons.len()
    );
    let (old, new) = (
        package("inflate", 1, &key(1)),
        package("inflate", 2, &key(1)),
    );
    let image = store.accept(&new, "operator").expect("good").image;
    for refused in [&old, &old, &b"none".to_vec()] {
        store.accept(refused, "operator").expect_err("refused");
    }
    // What would be refused, and what nobody has, is no refusal.
    assert!(store.compare(&old).manifest.is_some());
    let nobody = store.verified(Uuid::nil(), &DeviceFacts::simulated());
    nobody.expect_err("not here");
    let other = DeviceFacts {
        shell: 7,
        ..DeviceFacts::simulated()
    };
    store.verified(image, &other).expect_err("another shell");
    let mut expected = vec![
        r#"faam_images_kept{state="usable"} 1"#.to_owned(),
        format!("faam_images_kept_bytes {}", new.len()),
        r#"faam_image_refusals_total{reason="older"} 2"#.to_owned(),
        r#"faam_image_refusals_total{reason="not-an-archive"} 1"#.to_owned(),
        r#"faam_image_refusals_total{reason="wrong-shell"} 1"#.to_owned(),
    ];
    let mut got = scraped(&store);
    expected.sort();
    got.sort();
    assert_eq!(got, expected);
    drop(store);
    // At the start each that is kept and not used is counted as well.
    let path = data.path().join("images").join(format!("{image}.fgi"));
    std::fs::write(&path, &new[..new.len() - 512]).expect("written");
    let store = open(data.path());
    let mut expected = vec![
        r#"faam_images_kept{state="refused"} 1"#.to_owned(),
        format!("faam_images_kept_bytes {}", new.len() - 512),
        r#"faam_image_refusals_total{reason="truncated"} 1"#.to_owned(),
    ];
    let mut got = scraped(&store);
    expected.sort();
    got.sort();
    assert_eq!(got, expected);
    // What is gone before it is to be programmed, as well.
    std::fs::remove_file(&path).expect("removed");
    store.verified(image, &other).expect_err("gone");
    assert!(
        scraped(&store).contains(&r#"faam_image_refusals_total{reason="unreadable"} 1"#.to_owned())
    );
    store.remove(image, "operator").expect("removed");
    assert!(!scraped(&store).iter().any(|line| line.contains("kept")));
}

#[test]
fn every_error_that_is_a_refusal_has_a_reason_that_is_known() {
    let path = std::path::PathBuf::from("x");
    let file = |what| ImageError::File {
        what,
        path: path.clone(),
        source: std::io::Error::other("x"),
    };
    let image = Uuid::nil();
    let refusals = [
        ImageError::Misnamed {
            image,
            holds: image,
        },
        file("read"),
        ImageError::Full { count: 1, bytes: 1 },
        ImageError::TooManyKernels,
    ];
    let reasons: Vec<_> = refusals.iter().filter_map(ImageError::reason).collect();
    let known: Vec<_> = refusal_reasons().collect();
    assert_eq!(reasons, known[known.len() - reasons.len()..]);
    assert_eq!(file("write").reason(), None);
    assert_eq!(ImageError::Missing { image }.reason(), None);
}

#[test]
fn of_one_name_the_newest_is_looked_for_among_those_that_fit_the_device() {
    let data = tempfile::tempdir().expect("a directory");
    let store = open(data.path());
    let add = |version: &str, security_version: u32, elsewhere: bool| {
        let text = include_str!("../../../bitstreams/images/inflate.toml");
        let mut description = Description::from_toml(text).expect("ours");
        description.simulated_bytes = Some(100);
        description.version = version.to_owned();
        description.security_version = security_version;
        if elsewhere {
            description.shell.id = 7;
        }
        let bytes = build(&description, &Ingredients::default(), &key(1)).expect("builds");
        store.accept(&bytes, "operator").expect("good").image
    };
    let here = DeviceFacts::simulated();
    let there = DeviceFacts {
        shell: 7,
        ..here.clone()
    };
    let nowhere = DeviceFacts {
        shell: 8,
        ..here.clone()
    };
    let ids = |device| {
        let images = store.list_for(device);
        images
            .into_iter()
            .map(|image| image.image)
            .collect::<Vec<_>>()
    };
    let older = add("1.9.0", 1, false);
    let newer = add("1.10.0", 1, false);
    assert!(ids(&there).is_empty());
    let other = add("2.0.0", 1, true);
    assert_eq!(store.find("inflate"), Some(other));
    assert_eq!(store.find_for("inflate", &here), Some(newer));
    assert_eq!(store.find_for("inflate", &there), Some(other));
    // By its id it is that one, which then says that it does not fit.
    let by_id = store.find_for(&other.to_string(), &here).expect("kept");
    let error = store.verified(by_id, &here).expect_err("another shell");
    assert_eq!(code(&error), "wrong-shell");
    // Where none fits, the newest of all says why.
    assert_eq!(store.find_for("inflate", &nowhere), Some(other));
    assert_eq!(store.find_for("deflate-fast", &here), None);
    assert_eq!(
        (ids(&here), ids(&there), ids(&nowhere)),
        (vec![newer], vec![other], vec![])
    );
    let newest = |image| store.is_newest(&store.summary(image).expect("kept"));
    assert_eq!([older, newer, other].map(newest), [false, true, true]);
    // As slots ask for it.
    let device = crate::slot_image::SlotDevice {
        idcode: here.idcode,
        shell: here.shell,
        simulated: true,
        image_bytes_max: 1 << 24,
    };
    let source: &dyn crate::slot_image::ImageSource = &store;
    source
        .verified("inflate", &device)
        .expect("the one that fits");
    assert_eq!(source.list(&device).len(), 1);
    // A later security version of the kernel supersedes it, whatever device that one is for.
    let secure = add("2.0.1", 2, true);
    assert_eq!((ids(&here), ids(&there)), (vec![], vec![secure]));
    let error = source.verified("inflate", &device).expect_err("older");
    assert_eq!(code(&error), "older");
    // What no load takes is nobody's newest.
    assert_eq!([newer, other, secure].map(newest), [false, false, true]);
}
