//! Flows that live through a change: cut for good, or kept.

use super::stage::Stage;
use crate::probe::{Hearing, Side, Stream, Transport};
use crate::truth::Cell;
use anyhow::Result;
use std::time::Duration;

/// How long something is given to get through a flow that should be cut. Covers one
/// TCP retransmission.
const SILENCE: Duration = Duration::from_millis(250);
/// How long something may take on a flow that should be alive.
const ANSWER: Duration = Duration::from_secs(3);

/// Two flows between the same ends: after a cut, the client speaks first on one, the
/// server on the other.
pub struct Flow {
    title: String,
    /// Both ends must see a reset when it is cut.
    resets: bool,
    streams: [(Side, Stream); 2],
}

impl Flow {
    /// Opens both.
    pub fn open(
        stage: &Stage,
        from: &str,
        to: &str,
        transport: Transport,
        v4: bool,
    ) -> Result<Self> {
        let cell = Cell {
            from: from.into(),
            to: to.into(),
            v4,
            transport,
        };
        let mut shot = stage.shot(&cell)?;
        shot.patience = ANSWER;
        let open = |side| Ok::<_, anyhow::Error>((side, Stream::open(stage.net()?, &shot)?));
        Ok(Self {
            title: format!("flow {cell}"),
            resets: stage.resets(&cell),
            streams: [open(Side::Client)?, open(Side::Server)?],
        })
    }

    /// What still passes although nothing should, and who is not told; empty when the flow
    /// is cut as it must be. Both ends keep talking at first, to see whether anything comes
    /// through.
    pub fn leaks(&self) -> Vec<String> {
        // What was on its way when the change took effect arrives within a moment.
        std::thread::sleep(SILENCE / 10);
        let mut leaks: Vec<String> = std::thread::scope(|scope| {
            let judges = self
                .streams
                .each_ref()
                .map(|(side, stream)| scope.spawn(|| self.leaks_of(*side, stream)));
            judges
                .into_iter()
                .flat_map(|judge| {
                    judge
                        .join()
                        .unwrap_or_else(|_| vec!["judging a flow panicked".into()])
                })
                .collect()
        });
        leaks.dedup();
        leaks
    }

    /// Of one stream; `first` is the end that speaks first.
    fn leaks_of(&self, first: Side, stream: &Stream) -> Vec<String> {
        let mut leaks = Vec::new();
        let before = stream.received();
        std::thread::sleep(SILENCE / 2);
        stream.hush();
        let after = stream.received();
        self.compare(&mut leaks, "while both ends talked", before, after);
        for speaker in [first, first.other()] {
            let before = stream.received();
            if stream.say(speaker, SILENCE) == Hearing::Heard {
                leaks.push(format!(
                    "{}: the {speaker:?} spoke and was heard",
                    self.title
                ));
            }
            self.compare(&mut leaks, "after one end spoke", before, stream.received());
            if self.resets && !stream.is_told(speaker, ANSWER) {
                leaks.push(format!(
                    "{}: the {speaker:?} spoke and saw no reset",
                    self.title
                ));
            }
        }
        leaks
    }

    fn compare(&self, leaks: &mut Vec<String>, when: &str, before: (u64, u64), after: (u64, u64)) {
        let (client, server) = (after.0 - before.0, after.1 - before.1);
        if client + server > 0 {
            leaks.push(format!(
                "{}: {when}, {server} messages reached the server and {client} the client",
                self.title
            ));
        }
    }

    /// What does not pass although everything should.
    pub fn losses(&self) -> Vec<String> {
        let mut losses = Vec::new();
        for (_, stream) in &self.streams {
            for speaker in [Side::Client, Side::Server] {
                let hearing = stream.say(speaker, ANSWER);
                if hearing != Hearing::Heard {
                    losses.push(format!(
                        "{}: what the {speaker:?} said was lost: {hearing:?}",
                        self.title
                    ));
                }
            }
        }
        losses
    }

    /// How each end learned that it is cut, for the report.
    pub fn obituary(&self) -> String {
        let [(_, stream), _] = &self.streams;
        let end = |side| stream.broken(side).unwrap_or_else(|| "silence".into());
        format!(
            "{}: client saw {}, server saw {}",
            self.title,
            end(Side::Client),
            end(Side::Server)
        )
    }
}
