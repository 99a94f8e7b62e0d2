//! A caller: draws a request, sends it, and judges what came.
//!
//! Owns the rules of what may come. Invariant: every request has one end, and each end is a right answer, a refusal that the
//! circumstances allow, the caller's own hang-up, or a break that the gateway's own end explains; anything else is a failure of
//! the soak. It does not know what else happens meanwhile.

use std::io::Read;
use std::time::{Duration, Instant};

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};

use crate::accounts::{Accounts, FICKLE, TENANTS};
use crate::decoders;
use crate::dice::Dice;
use crate::life::{EndKind, Life, Lives};
use crate::load::{Load, Phase};
use crate::samples::{FORMATS, Samples};
use crate::wire::{Answer, Call, End, Manner};

/// Of so many answers of the DEFLATE family, one is decoded by other programs too.
const BY_PROGRAMS_ONE_IN: u64 = 64;
/// Others' requests between the sips of a slow reader, and longest wait for them.
const SIP_REQUESTS: u64 = 8;
const SIP_LIMIT: Duration = Duration::from_millis(400);
/// A refusal by a tenant's bound, and what its caller waits for before the next request.
const TOO_MANY: &str = "refused: too-many-in-flight";
const REFUSED_REQUESTS: u64 = 8;
const REFUSED_LIMIT: Duration = Duration::from_millis(400);
/// What backends are called that a card had part in; the second begins with the first.
pub(crate) const BY_CARD: &str = "simulated card";
const BY_CARD_AND_CPU: &str = "simulated card and cpu";
/// Deadlines that callers set, milliseconds.
const DEADLINES_MS: [u64; 4] = [1_000, 4_000, 15_000, 30_000];

/// What callers share.
pub(crate) struct Scene<'a> {
    pub(crate) load: &'a Load,
    pub(crate) lives: &'a Lives,
    pub(crate) samples: &'a Samples,
    pub(crate) accounts: &'a Accounts,
    /// Keys by tenant.
    pub(crate) keys: &'a [String],
    /// The gateway knows for itself that its cards are simulated; a foreign one may say anything.
    pub(crate) cards_are_own: bool,
}

/// A request as drawn.
struct Draft {
    /// Which kernel, by its number in usage.
    kernel: usize,
    format: &'static str,
    level: u64,
    sample: usize,
    corrupt: bool,
    policy: &'static str,
    deadline_ms: Option<u64>,
    manner: Manner,
    checked_by_programs: bool,
}

/// How a request ended, if it ended as it may.
enum Verdict {
    /// A right answer of so many bytes, by this backend.
    Right(u64, String),
    /// Not served, for a reason.
    Not(&'static str),
    /// Its caller does not know whether it was served.
    Unknown(&'static str),
}

/// Call until all is over.
pub(crate) fn call(scene: &Scene<'_>, number: usize, tenant: usize, seed: u64) {
    let mut dice = Dice::new(seed, number as u64);
    while let Some(phase) = scene.load.enter() {
        let Some(life) = scene.lives.serving() else {
            scene
                .load
                .fail(format!("caller {number}: no gateway came back"));
            return;
        };
        let draft = Draft::draw(&mut dice, tenant == FICKLE, scene.samples);
        let body = draft.body(scene.samples);
        let began = Instant::now();
        let end = draft.send(scene, &life, tenant, body);
        let took = began.elapsed();
        // Phases change only behind a closed gate, or from calm to chaos: so all of it was in a calm phase, which begins
        // when every card is in service.
        let calm = phase == Phase::Calm && scene.load.phase() == Phase::Calm;
        let received = match &end {
            End::Whole(answer) | End::Broken(Some(answer), _) => answer.body.len() as u64,
            _ => 0,
        };
        let verdict = draft.judge(scene, &life, tenant, began, end, calm);
        let case = || {
            format!(
                "caller {number} in life {}: {}",
                life.number,
                draft.say(body)
            )
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(why) => {
                let took_ms = took.as_millis();
                scene
                    .load
                    .fail(format!("{}: after {took_ms} ms: {why}", case()));
                return;
            }
        };
        let sent = body.len() as u64;
        let outcome = match &verdict {
            Verdict::Right(made, _) => {
                scene.accounts.note(tenant, draft.kernel, true, sent, *made);
                "right"
            }
            Verdict::Unknown(outcome) => {
                // What was made of it, if it was, was at most this; what came of the request too.
                let made_max = draft.answer_bytes_max(scene.samples);
                scene
                    .accounts
                    .note(tenant, draft.kernel, false, sent, made_max);
                outcome
            }
            Verdict::Not(outcome) => outcome,
        };
        if outcome == TOO_MANY {
            // As a caller does that is told to come back; a flood of refusals would drown the rest.
            let _ = scene.load.wait_ended(REFUSED_REQUESTS, REFUSED_LIMIT);
        }
        if outcome.starts_with("broken") {
            scene.load.note(format!("{}: {outcome}", case()));
        }
        scene.load.count(|tally| {
            *tally.by_outcome.entry(outcome).or_default() += 1;
            tally.bytes_sent += sent;
            tally.bytes_received += received;
            if let Verdict::Right(_, backend) = verdict {
                *tally.by_backend.entry(backend).or_default() += 1;
                tally.decoded_by_programs += u64::from(draft.checked_by_programs);
                let times = match calm {
                    true => &mut tally.calm,
                    false => &mut tally.chaos,
                };
                times.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
        });
    }
}

impl Draft {
    fn draw(dice: &mut Dice, fickle: bool, samples: &Samples) -> Self {
        let kernel = usize::from(dice.percent(40));
        let mut format = *dice.pick(&FORMATS[..3]);
        if dice.percent(12) {
            format = *dice.pick(&FORMATS[3..]);
        }
        let on_cards = FORMATS[..3].contains(&format);
        let policies: &[&str] = match on_cards {
            true => &[
                "auto",
                "auto",
                "prefer-hw",
                "require-hw",
                "require-hw",
                "cpu",
            ],
            // What cards never take is not required of them.
            false => &["auto", "prefer-hw", "cpu"],
        };
        let policy = *dice.pick(policies);
        let mut sample = Samples::draw(dice);
        let is_large = |sample: usize| samples.get(sample).plain.len() >= 1 << 20;
        // Beyond a card's job, it is refused under require-hw: that is another test's.
        if kernel == 1 && policy == "require-hw" && is_large(sample) {
            sample = 8;
        }
        let level = dice.between(1, 9);
        let deadline_ms = dice.percent(35).then(|| *dice.pick(&DEADLINES_MS));
        let corrupt = kernel == 1 && format == "gzip" && dice.percent(4);
        let hang_at = usize::try_from(dice.below(200 << 10)).unwrap_or(0);
        let manner = match (fickle, dice.below(10)) {
            (true, 0..=2) => Manner::HangsUpSending(hang_at),
            (true, 3..=5) => Manner::HangsUpReading(hang_at),
            (true, _) | (false, 0) => Manner::Sips,
            (false, 1..=4) => Manner::WritesFirst,
            (false, _) => Manner::AtOnce,
        };
        let by_programs = dice.below(BY_PROGRAMS_ONE_IN) == 0;
        let mut draft = Self {
            kernel,
            format,
            level,
            sample,
            corrupt,
            policy,
            deadline_ms,
            manner,
            checked_by_programs: kernel == 0 && (!on_cards || by_programs),
        };
        // Where its encoder is not installed there is no member.
        if kernel == 1 && samples.get(sample).member(draft.format).is_none() {
            draft.format = "gzip";
        }
        draft
    }

    fn body<'a>(&self, samples: &'a Samples) -> &'a [u8] {
        let sample = samples.get(self.sample);
        match self.kernel {
            0 => &sample.plain,
            _ if self.corrupt => &samples.corrupt,
            _ => sample.member(self.format).unwrap_or_default(),
        }
    }

    fn answer_bytes_max(&self, samples: &Samples) -> u64 {
        let plain = samples.get(self.sample).plain.len() as u64;
        // A member of what does not compress is a little longer.
        plain + plain / 64 + 1024
    }

    fn say(&self, body: &[u8]) -> String {
        let kernel = ["compress", "decompress"][self.kernel];
        let Self {
            format,
            level,
            policy,
            manner,
            corrupt,
            ..
        } = self;
        let deadline = match self.deadline_ms {
            Some(ms) => format!("{ms} ms"),
            None => "no deadline".to_owned(),
        };
        let corrupt = if *corrupt { ", corrupt" } else { "" };
        format!(
            "{kernel} {} bytes{corrupt}, {format} {level}, {policy}, {deadline}, {manner:?}",
            body.len()
        )
    }

    fn send(&self, scene: &Scene<'_>, life: &Life, tenant: usize, body: &[u8]) -> End {
        let target = match self.kernel {
            0 => format!("/v1/compress?format={}&level={}", self.format, self.level),
            _ => format!("/v1/decompress?format={}", self.format),
        };
        let mut headers = vec![
            ("Authorization", format!("Bearer {}", scene.keys[tenant])),
            ("Faam-Backend", self.policy.to_owned()),
        ];
        if let Some(ms) = self.deadline_ms {
            headers.push(("Faam-Deadline-Ms", ms.to_string()));
        }
        let between_sips = || {
            // Whether they came or the time passed: it goes on.
            let _ = scene.load.wait_ended(SIP_REQUESTS, SIP_LIMIT);
        };
        let call = Call {
            address: life.public,
            target: &target,
            headers: &headers,
            body,
            manner: self.manner,
            between_sips: &between_sips,
        };
        call.run()
    }

    fn judge(
        &self,
        scene: &Scene<'_>,
        life: &Life,
        tenant: usize,
        began: Instant,
        end: End,
        calm: bool,
    ) -> Result<Verdict, String> {
        match end {
            End::Whole(answer) if answer.status == 200 => self.judge_answer(scene, &answer),
            End::Whole(answer) => self.judge_refusal(life, tenant, &answer, calm),
            End::HungUp => Ok(Verdict::Unknown("hung-up-by-caller")),
            End::Silent(why) => Err(format!("LOST: {why}")),
            End::Broken(answer, why) => self.judge_break(life, began, answer.as_ref(), &why, calm),
        }
    }

    fn judge_answer(&self, scene: &Scene<'_>, answer: &Answer) -> Result<Verdict, String> {
        let sample = scene.samples.get(self.sample);
        if self.corrupt {
            return Err("WRONG: a corrupt member was answered with success".to_owned());
        }
        let verify = answer.header("faam-verify");
        if !["ok", "on"].contains(&verify) {
            return Err(format!("WRONG: Faam-Verify is {verify:?}"));
        }
        self.judge_backend(answer.header("faam-backend"), scene.cards_are_own)?;
        match self.kernel {
            0 => self.check_member(&answer.body, &sample.plain)?,
            _ if answer.body == sample.plain => {}
            _ => return Err("WRONG: other bytes than the member's".to_owned()),
        }
        let made = answer.body.len() as u64;
        let backend = answer.header("faam-backend");
        let kind = match backend {
            "" => "not yet known",
            _ if !backend.contains("fpga") => "cpu",
            _ if backend.contains("cpu") => BY_CARD_AND_CPU,
            _ => BY_CARD,
        };
        Ok(Verdict::Right(made, kind.to_owned()))
    }

    /// The engines that a head names are allowed, and honestly named.
    fn judge_backend(&self, backend: &str, cards_are_own: bool) -> Result<(), String> {
        for engine in backend.split(',').filter(|engine| !engine.is_empty()) {
            let name = engine.split(';').next().unwrap_or("").trim();
            let card = name.starts_with("fpga");
            let allowed = match self.policy {
                "require-hw" => card,
                "cpu" => !card,
                _ => true,
            };
            let named = card == engine.contains("simulated") || (card && !cards_are_own);
            if !allowed || !named {
                return Err(format!("WRONG: served by {backend:?}"));
            }
        }
        Ok(())
    }

    fn check_member(&self, member: &[u8], plain: &[u8]) -> Result<(), String> {
        let decoder: Option<Box<dyn Read + '_>> = match self.format {
            "gzip" => Some(Box::new(GzDecoder::new(member))),
            "zlib" => Some(Box::new(ZlibDecoder::new(member))),
            "deflate" => Some(Box::new(DeflateDecoder::new(member))),
            // These are decoded by their formats' own programs alone, each of them.
            _ => None,
        };
        if let Some(mut decoder) = decoder {
            let mut decoded = Vec::with_capacity(plain.len());
            if let Err(error) = decoder.read_to_end(&mut decoded) {
                return Err(format!("WRONG: not {}: {error}", self.format));
            }
            if decoded != plain {
                return Err("WRONG: other bytes than the source".to_owned());
            }
        }
        if self.checked_by_programs {
            decoders::check_all(self.format, member, plain)
                .map_err(|error| format!("WRONG: {error}"))?;
        }
        Ok(())
    }

    fn judge_refusal(
        &self,
        life: &Life,
        tenant: usize,
        answer: &Answer,
        calm: bool,
    ) -> Result<Verdict, String> {
        let (kind, detail) = answer.problem();
        let came = || format!("{} {kind}: {detail}", answer.status);
        let comes_back = answer.header("retry-after").parse::<u64>().is_ok();
        if matches!(answer.status, 429 | 503) && !comes_back {
            return Err(format!("a refusal without Retry-After: {}", came()));
        }
        let stopping = life.end().is_some();
        match kind.as_str() {
            "corrupt-input" if self.corrupt => Ok(Verdict::Not("refused: corrupt-input")),
            "deadline" if self.deadline_ms.is_some() => Ok(Verdict::Not("refused: deadline")),
            "saturated" if self.deadline_ms.is_some() => {
                Ok(Verdict::Not("refused: deadline within a queue"))
            }
            "no-engine" if self.policy == "require-hw" && !calm => {
                Ok(Verdict::Not("refused: no-engine"))
            }
            "too-many-in-flight" if TENANTS[tenant].1.is_some() => Ok(Verdict::Not(TOO_MANY)),
            "draining" if stopping => Ok(Verdict::Not("refused: draining")),
            _ => {
                let phase = if calm { " in a calm phase" } else { "" };
                Err(format!("REFUSED without a reason{phase}: {}", came()))
            }
        }
    }

    fn judge_break(
        &self,
        life: &Life,
        began: Instant,
        answer: Option<&Answer>,
        why: &str,
        calm: bool,
    ) -> Result<Verdict, String> {
        match life.end() {
            Some(end) if end.kind == EndKind::Killed => {
                return Ok(Verdict::Unknown("broken by the gateway's SIGKILL"));
            }
            // Its listener is closed to those who come after it was told to stop.
            Some(end) if answer.is_none() && began + CONNECT_MARGIN >= end.at => {
                return Ok(Verdict::Not("turned away by the gateway's stop"));
            }
            _ => {}
        }
        let came = answer.map_or("no head".to_owned(), |answer| {
            format!("{} and {} bytes", answer.status, answer.body.len())
        });
        // A failure after the head breaks the stream off: what a caller asked for itself may end so.
        let begun = answer.is_some_and(|answer| answer.status == 200);
        match (begun, self.deadline_ms, self.policy) {
            (true, Some(_), _) => Ok(Verdict::Not("broken off: deadline")),
            (true, _, "require-hw") if !calm => Ok(Verdict::Not("broken off: no card")),
            _ => Err(format!("LOST: {came}, then {why}")),
        }
    }
}

/// From a caller's beginning to its connection's acceptance, where it may meet a listener that closes.
const CONNECT_MARGIN: Duration = Duration::from_millis(500);
