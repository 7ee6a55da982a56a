//! Resolves needs to workloads, and finds the circles in which workloads would wait for each
//! other.

use std::collections::{BTreeMap, BTreeSet};

use dormouse_core::WorkloadId;
use dormouse_core::findings::{Finding, Severity};
use dormouse_core::policy::Need;

use super::assemble::Bench;
use crate::config::report::{nearest, quote};
use crate::config::settings::{ComposeService, Draft, NeedWish, Wanted};

/// The needs of each workload.
pub(super) type Needs = BTreeMap<WorkloadId, Vec<Need>>;

/// Where to look for what a need names.
struct Index {
    by_name: BTreeMap<String, Vec<WorkloadId>>,
    by_service: BTreeMap<(String, ComposeService), Vec<WorkloadId>>,
}

/// What a need's name led to.
enum Resolved {
    To(Vec<WorkloadId>),
    /// Compose waits for it, and it is none of ours.
    NotOurs(Finding),
    Unknown(Finding),
}

/// Resolves every need. Who needs what is not there is misconfigured, and so is who stands in a
/// circle; the needs of such a circle are dropped, so that nobody waits in it.
pub(super) fn resolve(bench: &mut Bench<'_>) -> Needs {
    let index = Index::of(bench);
    let mut needs = Needs::new();
    let mut verdicts = Vec::new();
    for (id, draft) in &bench.drafts {
        let mut resolved: Vec<Need> = Vec::new();
        for wish in &draft.needs {
            match index.resolve(id, draft, wish, bench) {
                Resolved::To(on) => add(&mut resolved, on, wish),
                Resolved::NotOurs(finding) | Resolved::Unknown(finding) => {
                    verdicts.push((id.clone(), finding));
                }
            }
        }
        needs.insert(id.clone(), resolved);
    }
    for (id, finding) in verdicts {
        if finding.slug == IGNORED {
            bench.findings.push(finding.about(id.as_str()));
        } else {
            bench.misconfigure(&id, finding);
        }
    }
    break_circles(bench, &mut needs);
    needs
}

/// The slug of a need of Compose's that is none of ours.
const IGNORED: &str = "ignored-need";

/// The first to name a workload decides how far it must have come: our own key before Compose's.
fn add(needs: &mut Vec<Need>, on: Vec<WorkloadId>, wish: &NeedWish) {
    for on in on {
        if !needs.iter().any(|need| need.on == on) {
            needs.push(Need { on, until: wish.until });
        }
    }
}

impl Index {
    fn of(bench: &Bench<'_>) -> Self {
        let mut by_name: BTreeMap<String, Vec<WorkloadId>> = BTreeMap::new();
        let mut by_service: BTreeMap<_, Vec<WorkloadId>> = BTreeMap::new();
        for (id, draft) in &bench.drafts {
            by_name.entry(id.name().to_owned()).or_default().push(id.clone());
            if let Some(service) = &draft.compose {
                let key = (draft.environment.to_string(), ComposeService::clone(service));
                by_service.entry(key).or_default().push(id.clone());
            }
        }
        Self { by_name, by_service }
    }

    fn resolve(
        &self,
        id: &WorkloadId,
        draft: &Draft,
        wish: &NeedWish,
        bench: &Bench<'_>,
    ) -> Resolved {
        match &wish.on {
            Wanted::Service(service) => match self.service(draft, service) {
                Some(on) => Resolved::To(on.to_vec()),
                None => Resolved::NotOurs(not_ours(id, service, wish)),
            },
            Wanted::Workload(name) => match self.workload(draft, name, bench) {
                Some(on) => Resolved::To(on),
                None => Resolved::Unknown(self.unknown(name, wish, bench)),
            },
        }
    }

    /// By id; then by name in the same environment, by service in the same Compose project, and by
    /// name wherever only one environment has it.
    fn workload(&self, draft: &Draft, name: &str, bench: &Bench<'_>) -> Option<Vec<WorkloadId>> {
        if name.contains('/') {
            let id = WorkloadId::parse(name)?;
            return bench.drafts.contains_key(&id).then(|| vec![id]);
        }
        let here = WorkloadId::new(&draft.environment, name);
        if bench.drafts.contains_key(&here) {
            return Some(vec![here]);
        }
        if let Some(on) = self.service(draft, name) {
            return Some(on.to_vec());
        }
        match self.by_name.get(name).map(Vec::as_slice) {
            Some([only]) => Some(vec![only.clone()]),
            Some(_) | None => None,
        }
    }

    fn service(&self, draft: &Draft, service: &str) -> Option<&[WorkloadId]> {
        let project = draft.compose.as_ref()?.project.clone();
        let service = ComposeService { project, service: service.to_owned() };
        self.by_service.get(&(draft.environment.to_string(), service)).map(Vec::as_slice)
    }

    fn unknown(&self, name: &str, wish: &NeedWish, bench: &Bench<'_>) -> Finding {
        let several = self.by_name.get(name).is_some_and(|ids| ids.len() > 1);
        let message = if several {
            format!("needs {}, which several environments have", quote(name))
        } else {
            format!("needs {}, which is not a workload", quote(name))
        };
        let mut finding = Finding::error("unknown-need", message).at(wish.place.clone());
        let mut listed = bench.settings.environments.values().filter(|spec| spec.labels);
        // Until every runtime has shown its labels, one of them may still define it.
        if listed.any(|spec| !bench.found.contains_key(&spec.name)) && !several {
            finding.severity = Severity::Warning;
        }
        let known = self.by_name.keys().map(String::as_str);
        match nearest(name, known) {
            _ if several => finding.with_hint(format!("say \"ENVIRONMENT/{name}\"")),
            Some(meant) => finding.with_hint(format!("did you mean \"{meant}\"?")),
            None => finding.with_hint("define it in the file, or by labels on its container"),
        }
    }
}

fn not_ours(id: &WorkloadId, service: &str, wish: &NeedWish) -> Finding {
    let message =
        format!("`{id}` depends on the service {}, which is not a workload", quote(service));
    Finding::warning(IGNORED, message)
        .at(wish.place.clone())
        .with_hint("set dormouse.enable=true on it if it should sleep and wake too")
}

fn break_circles(bench: &mut Bench<'_>, needs: &mut Needs) {
    for members in circles(needs) {
        let path = walk(&members, needs);
        let message = match path.as_slice() {
            [only, _] => format!("`{only}` needs itself"),
            path => {
                let path: Vec<&str> = path.iter().map(WorkloadId::as_str).collect();
                format!("needs form a cycle: {}", path.join(" → "))
            }
        };
        for (count, id) in members.iter().enumerate() {
            let draft = &bench.drafts[id];
            let place = draft.needs.first().map_or(&draft.place, |wish| &wish.place).clone();
            let finding = Finding::error("cycle", message.clone()).at(place);
            if count == 0 {
                bench.misconfigure(id, finding.with_hint("remove one of these needs"));
            } else if let Some(draft) = bench.drafts.get_mut(id) {
                draft.misconfigured.get_or_insert(message.clone());
            }
        }
        for id in &members {
            needs.insert(id.clone(), Vec::new());
        }
    }
}

/// One way around among `members`, from the first back to it.
fn walk(members: &BTreeSet<WorkloadId>, needs: &Needs) -> Vec<WorkloadId> {
    let mut path: Vec<WorkloadId> = members.first().into_iter().cloned().collect();
    while let Some(last) = path.last() {
        let next = needs[last].iter().map(|need| &need.on).find(|on| members.contains(*on));
        let next = next.expect("every member of a circle needs another one").clone();
        if let Some(start) = path.iter().position(|id| *id == next) {
            path.drain(..start);
            path.push(next);
            break;
        }
        path.push(next);
    }
    path
}

/// Every set of workloads that need each other, and every workload that needs itself: the strongly
/// connected components (Tarjan), without recursion, for chains may be long.
fn circles(needs: &Needs) -> Vec<BTreeSet<WorkloadId>> {
    let mut search = Search { needs, ..Search::empty(needs) };
    for id in needs.keys() {
        if !search.index.contains_key(id) {
            search.visit(id);
        }
    }
    search.found
}

struct Search<'n> {
    needs: &'n Needs,
    index: BTreeMap<&'n WorkloadId, usize>,
    low: BTreeMap<&'n WorkloadId, usize>,
    stack: Vec<&'n WorkloadId>,
    on_stack: BTreeSet<&'n WorkloadId>,
    found: Vec<BTreeSet<WorkloadId>>,
}

impl<'n> Search<'n> {
    fn empty(needs: &'n Needs) -> Self {
        Self {
            needs,
            index: BTreeMap::new(),
            low: BTreeMap::new(),
            stack: Vec::new(),
            on_stack: BTreeSet::new(),
            found: Vec::new(),
        }
    }

    fn visit(&mut self, root: &'n WorkloadId) {
        let mut trail: Vec<(&'n WorkloadId, usize)> = vec![(root, 0)];
        self.enter(root);
        while let Some((id, next)) = trail.pop() {
            let Some(need) = self.needs[id].get(next) else {
                self.leave(id, trail.last().map(|(parent, _)| *parent));
                continue;
            };
            trail.push((id, next + 1));
            let Some((on, _)) = self.needs.get_key_value(&need.on) else {
                continue;
            };
            if !self.index.contains_key(on) {
                self.enter(on);
                trail.push((on, 0));
            } else if self.on_stack.contains(on) {
                self.lower(id, self.index[on]);
            }
        }
    }

    fn enter(&mut self, id: &'n WorkloadId) {
        let number = self.index.len();
        self.index.insert(id, number);
        self.low.insert(id, number);
        self.stack.push(id);
        self.on_stack.insert(id);
    }

    fn leave(&mut self, id: &'n WorkloadId, parent: Option<&'n WorkloadId>) {
        let low = self.low[id];
        if let Some(parent) = parent {
            self.lower(parent, low);
        }
        if low != self.index[id] {
            return;
        }
        let mut members = BTreeSet::new();
        while let Some(member) = self.stack.pop() {
            self.on_stack.remove(member);
            members.insert(member.clone());
            if member == id {
                break;
            }
        }
        let needs_itself = self.needs[id].iter().any(|need| need.on == *id);
        if members.len() > 1 || needs_itself {
            self.found.push(members);
        }
    }

    fn lower(&mut self, id: &'n WorkloadId, to: usize) {
        let low = self.low.get_mut(id).expect("whoever is on the trail was entered");
        *low = (*low).min(to);
    }
}
