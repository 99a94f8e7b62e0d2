//! Where the time goes of rows that miss a target: a table by component beside the floor, and the flame graph.

use std::fmt::Write;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::plot::escape;
use crate::profile::Profile;
use crate::results::{Run, as_f64};

/// Writes the section; graphs are read from `dir`.
pub(super) fn write(run: &Run, dir: &Path, out: &mut String) -> std::fmt::Result {
    if run.profiles.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>Where the time goes</h2><p class='soft'>Of rows that miss a target: stacks sampled by perf in a run of their own, under the \
         same load, shared out by component; shares are taken of the CPU time a request in the measured windows. The floor is of the same \
         run: raw codec, decoder and comparison on the same bodies, and the echo's HTTP, kernel included. What the components have beyond \
         the floor is the gateway's own.</p>",
    );
    for profile in &run.profiles {
        one(run, profile, dir, out)?;
    }
    Ok(())
}

fn one(run: &Run, profile: &Profile, dir: &Path, out: &mut String) -> std::fmt::Result {
    let title = format!("{}, {}", profile.row, profile.cell.name());
    write!(
        out,
        "<h3>{}</h3><p class='small'>Target {}; {:.1} s of CPU time sampled.</p><div class='card'><table>\
         <tr><th class='text'>component</th><th>share</th><th>us a request</th><th class='text'></th><th class='text'>floor</th><th>us a request</th></tr>",
        escape(&title),
        escape(&profile.targets.join(", ")),
        as_f64(profile.sampled_ns) / 1e9
    )?;
    let floor: Vec<(&str, f64)> = profile.floor.map_or_else(Vec::new, |floor| {
        vec![
            ("codec", floor.codec_us),
            ("decode", floor.decode_us),
            ("compare", floor.compare_us),
            ("echo", floor.echo_us),
        ]
    });
    for n in 0..profile.parts.len().max(floor.len()) {
        out.push_str("<tr>");
        match profile.parts.get(n) {
            Some(part) => {
                let share = profile.share(part);
                write!(
                    out,
                    "<td class='text'>{}</td><td>{:.1} %</td><td>{:.1}</td><td></td>",
                    part.component.name(),
                    100.0 * share,
                    share * profile.cpu_us_per_request
                )?;
            }
            None => out.push_str("<td></td><td></td><td></td><td></td>"),
        }
        match floor.get(n) {
            Some((name, us)) => write!(out, "<td class='text'>{name}</td><td>{us:.1}</td></tr>")?,
            None => out.push_str("<td></td><td></td></tr>"),
        }
    }
    write!(
        out,
        "<tr><td class='text'>all</td><td></td><td>{:.1}</td><td></td><td class='text'>all</td><td>{}</td></tr></table></div>",
        profile.cpu_us_per_request,
        profile
            .floor
            .map_or_else(String::new, |floor| format!("{:.1}", floor.sum_us()))
    )?;
    if let Some(bare) = run.point(profile.row.bare(), profile.cell) {
        write!(
            out,
            "<p class='small'>Measured beside it, {} (hyper, the same engine and verification, no gateway) takes {:.1} us a request.</p>",
            bare.row,
            bare.median(|window| window.cpu_us_per_request)
        )?;
    }
    // As an image a graph runs no script; beside the page it can be searched and zoomed.
    match std::fs::read(dir.join(&profile.flame)) {
        Ok(svg) => write!(
            out,
            "<figure><a href='{0}'><img style='width:100%' alt='flame graph of {1}' src='data:image/svg+xml;base64,{2}'></a>\
             <figcaption>Flame graph; {0} beside this page can be searched and zoomed.</figcaption></figure>",
            escape(&profile.flame),
            escape(&title),
            STANDARD.encode(svg)
        ),
        Err(error) => write!(
            out,
            "<p class='small'>{} could not be read: {}</p>",
            escape(&profile.flame),
            escape(&error.to_string())
        ),
    }
}
