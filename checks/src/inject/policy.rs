//! Which rules come and go.

use super::dns::Target;
use super::edit::Edit;
use super::monitoring::Scrapers;
use super::{Companion, Injected, Part, record, rule};
use crate::config::Injection;
use crate::{Index, Subject, World};
use ringfence_policy::model::{Policy, Protocol, Rule};
use serde_json::Value;

/// Whether the object is new, or what decides about injection has changed. A label, a
/// finalizer or an owner is no reason to touch the spec of somebody's object.
pub(super) fn is_changed(subject: &Subject, old: Option<&Subject>) -> bool {
    old.is_none_or(|old| {
        spec(subject) != spec(old)
            || Part::ALL
                .iter()
                .any(|p| subject.annotation(p.switch()) != old.annotation(p.switch()))
    })
}

fn spec<'a>(subject: &Subject<'a>) -> Option<&'a Value> {
    subject.raw.get("spec").filter(|spec| !spec.is_null())
}

/// `changed`: as [`is_changed`] says.
pub(super) fn inject(
    subject: &Subject,
    policy: &Policy,
    old: Option<&Subject>,
    changed: bool,
    world: &World,
) -> Injected {
    let mut injected = Injected::default();
    let Some(index) = world.index else {
        return injected;
    };
    let mode = world.rules(subject.namespace()).injection;
    let mut edit = Edit::new(subject);
    let mut companion = Companion::default();
    for part in Part::ALL {
        let source = Source::of(part, index, world);
        let rules = policy.rules(part.direction());
        let own = Section {
            namespace: subject.namespace(),
            rules: rules.unwrap_or_default(),
        };
        let ours = record::accepted(part, subject, old, own.rules, |rule| source.offers(rule));
        let isolated = rules.is_some() && changed;
        let mut change = Change::default();
        match mode {
            Injection::InPlace if isolated && part.is_off(subject) => {
                change.remove.clone_from(&ours);
            }
            Injection::InPlace if isolated => {
                change = own.change(part, &source, &ours, world);
            }
            Injection::Companion if rules.is_some() && !part.is_off(subject) => {
                let lacking = own.change(part, &source, &ours, world).add;
                let lacking = lacking.iter().map(|r| rule::to_json(part.direction(), r));
                match part {
                    Part::Dns => companion.egress.extend(lacking),
                    Part::Monitoring => companion.ingress.extend(lacking),
                }
            }
            _ => {}
        }
        let kept = ours.iter().filter(|at| !change.remove.contains(at));
        let kept = kept.map(|at| &own.rules[*at]);
        let hash = |r: &Rule| rule::hash(part.direction(), r);
        let hashes: Vec<String> = kept.chain(&change.add).map(hash).collect();
        edit.rules(part.direction(), &change.remove, &change.add);
        edit.annotation(
            part.record(),
            (!hashes.is_empty()).then(|| rule::record(&hashes)),
        );
    }
    if companion != Companion::default() {
        injected.companion = Some(companion);
    }
    match edit.finish() {
        Ok(patch) => injected.patch = patch,
        Err(why) => injected.rejected = Some(why),
    }
    injected
}

/// What a part is made from. Nothing while there is no usable DNS Service: then nothing
/// is known to be lacking, or to be out of date.
enum Source<'a> {
    Dns(Target<'a>),
    Monitoring(Scrapers<'a>),
    Nothing,
}

impl<'a> Source<'a> {
    fn of(part: Part, index: &'a Index, world: &World<'a>) -> Self {
        match part {
            Part::Dns => Target::find(index, world.config).map_or(Self::Nothing, Self::Dns),
            Part::Monitoring => Self::Monitoring(Scrapers::of(index, world.config)),
        }
    }

    /// The rules that would be added to these.
    fn lacking(&self, own: &str, rules: &[&Rule]) -> Vec<Rule> {
        match self {
            Self::Dns(target) => target.lacking(own, rules),
            Self::Monitoring(scrapers) if scrapers.shut_out(own, rules).is_empty() => Vec::new(),
            Self::Monitoring(scrapers) => scrapers.rule().into_iter().collect(),
            Self::Nothing => Vec::new(),
        }
    }

    /// Whether a rule is one that we would add today, to some policy.
    fn offers(&self, given: &Rule) -> bool {
        let given = rule::canonical(given);
        let same = |offered: &Rule| rule::canonical(offered) == given;
        match self {
            Self::Dns(target) => {
                let both = [Protocol::Udp, Protocol::Tcp];
                let subsets = [&both[..], &both[..1], &both[1..]];
                subsets
                    .iter()
                    .any(|some| target.rules(some).iter().any(same))
            }
            Self::Monitoring(scrapers) => scrapers.rule().is_some_and(|rule| same(&rule)),
            Self::Nothing => false,
        }
    }

    fn is_known(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// The rules of a direction that the policy isolates.
struct Section<'a> {
    namespace: &'a str,
    rules: &'a [Rule],
}

/// Which rules go, by index, and which come.
#[derive(Default)]
struct Change {
    remove: Vec<usize>,
    add: Vec<Rule>,
}

impl Section<'_> {
    /// An injected rule that is still right stays, even where the author's own rules
    /// have become enough. When anything is lacking or out of date, all that was injected
    /// makes room for one new rule.
    fn change(&self, part: Part, source: &Source, ours: &[usize], world: &World) -> Change {
        let denies_all = part == Part::Dns && self.rules.is_empty();
        if denies_all && !world.config.dns.into_deny_all {
            return Change::default();
        }
        let all: Vec<&Rule> = self.rules.iter().collect();
        let stale = source.is_known() && ours.iter().any(|at| !source.offers(&self.rules[*at]));
        if !stale && source.lacking(self.namespace, &all).is_empty() {
            return Change::default();
        }
        let rules = self.rules.iter().enumerate();
        let authors: Vec<&Rule> = rules
            .filter(|(at, _)| !ours.contains(at))
            .map(|(_, rule)| rule)
            .collect();
        Change {
            add: source.lacking(self.namespace, &authors),
            remove: ours.to_vec(),
        }
    }
}
