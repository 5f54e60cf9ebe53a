//! A folder that changes while it is watched.

use super::{DENY, POD, folder_of, has};
use ringfence_cluster::{Event, Feed, Folder, Store, folder};
use ringfence_policy::snapshot::Kind;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use test_case::test_case;

const NAMESPACE: &str =
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n";
const NODE: &str =
    "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDR: 10.0.0.0/24}\n";
const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {ports: [{port: 80}]}\n";

struct Watched {
    feed: Feed,
    store: Store,
}

impl Watched {
    fn new(path: &Path) -> Self {
        Self {
            feed: Feed::folder(Folder::new(path, "default")),
            store: Store::new(Kind::ALL),
        }
    }

    /// Until the folder's present content is in the store; returns how much changed.
    async fn caught_up(&mut self, path: &Path) -> usize {
        let digest = folder::digest(path).unwrap();
        let mut changes = 0;
        while self.store.generation().map(|g| &g.digest) != Some(&digest) {
            changes += self.step().await;
        }
        changes
    }

    async fn step(&mut self) -> usize {
        let event = tokio::time::timeout(Duration::from_secs(20), self.feed.next());
        let event = event.await.expect("an event of the folder").unwrap();
        self.store.handle(event).len()
    }

    fn pod(&self, name: &str) -> bool {
        has(self.store.snapshot(), Kind::Pod, "shop", name)
    }
}

fn replace(path: &Path, content: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).unwrap();
    fs::rename(temporary, path).unwrap();
}

#[tokio::test]
async fn a_replaced_a_new_and_a_deleted_file_are_noticed() {
    let folder = folder_of(&[("a.yaml", POD.as_bytes())]);
    let mut watched = Watched::new(folder.path());
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    assert!(watched.store.is_synced());
    replace(&folder.path().join("a.yaml"), &POD.replace("web", "api"));
    assert_eq!(watched.caught_up(folder.path()).await, 2);
    assert!(watched.pod("api") && !watched.pod("web"));
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/b.yaml"), POD).unwrap();
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    replace(&folder.path().join("sub/b.yaml"), &POD.replace("web", "db"));
    assert_eq!(watched.caught_up(folder.path()).await, 2);
    assert!(watched.pod("db"));
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    assert!(!watched.pod("api"));
}

#[tokio::test]
async fn a_file_that_breaks_keeps_its_objects_until_it_is_mended_or_deleted() {
    let folder = folder_of(&[("a.yaml", format!("{POD}---\n{DENY}").as_bytes())]);
    let mut watched = Watched::new(folder.path());
    watched.caught_up(folder.path()).await;
    replace(
        &folder.path().join("a.yaml"),
        &format!("{POD}---\nkind: [\n"),
    );
    assert_eq!(watched.caught_up(folder.path()).await, 0);
    assert_eq!(watched.store.snapshot().policies.len(), 1);
    let said: Vec<_> = watched.store.problems().map(ToString::to_string).collect();
    assert!(
        said[0].contains("2 object(s) of before stay in force"),
        "{said:?}"
    );
    // What another file says about such an object counts.
    fs::write(
        folder.path().join("b.yaml"),
        POD.replace("10.0.0.1", "10.0.0.9"),
    )
    .unwrap();
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    replace(&folder.path().join("a.yaml"), DENY);
    watched.caught_up(folder.path()).await;
    assert_eq!(watched.store.problems().count(), 0);
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    assert!(watched.store.snapshot().policies.is_empty());
}

#[tokio::test]
async fn a_pod_that_breaks_keeps_its_state() {
    let folder = folder_of(&[("a.yaml", POD.as_bytes())]);
    let mut watched = Watched::new(folder.path());
    watched.caught_up(folder.path()).await;
    replace(
        &folder.path().join("a.yaml"),
        &POD.replace("nodeName: n1", "nodeName: 5"),
    );
    assert_eq!(watched.caught_up(folder.path()).await, 0);
    assert!(watched.pod("web"));
    assert_eq!(watched.store.problems().count(), 1);
}

/// Whatever is written in the place of an object: what was known before stands, and what
/// is wrong is said.
#[test_case(POD, "spec: {nodeName: n1}", "spec: []", "a.yaml:1: Pod shop/web: spec: found []; write a map"; "a pod's spec is a list")]
#[test_case(POD, "status: {podIP: 10.0.0.1}", "status: up", "Pod shop/web: status: found \"up\"; write a map"; "a pod's status is a word")]
#[test_case(NAMESPACE, "labels: {team: a}", "labels: []", "Namespace shop: metadata.labels: found []; write a map"; "a namespace's labels are a list")]
#[test_case(NODE, "spec: {podCIDR: 10.0.0.0/24}", "spec: []", "Node n1: spec: found []; write a map"; "a node's spec is a list")]
#[test_case(NODE, "metadata: {name: n1}", "metadata: [n1]", "a.yaml:1: Node without a name: metadata: found [\"n1\"]; write a map"; "a node's metadata are a list")]
#[test_case(SERVICE, "spec: {ports: [{port: 80}]}", "spec: [80]", "Service shop/web: spec: found [80]; write a map"; "a service's spec is a list")]
#[test_case(SERVICE, "ports: [{port: 80}]", "ports: [[80]]", "Service shop/web: spec.ports[0]: found [80]; write a map"; "a service's port is a list")]
#[test_case(DENY, "metadata: {name: deny, namespace: shop}", "metadata: []", "NetworkPolicy without a name: metadata: found []; write a map"; "a policy's metadata are a list")]
#[test_case(DENY, "namespace: shop", "namespace: [shop]", "NetworkPolicy deny: metadata.namespace: found [\"shop\"]"; "a policy's namespace is a list")]
#[test_case(DENY, "name: deny", "name: 7", "metadata.name: found 7; give the policy a name"; "a policy's name is a number")]
#[test_case(DENY, "kind: NetworkPolicy", "kind: []", "has no kind"; "a policy's kind is a list")]
#[test_case(DENY, "kind: NetworkPolicy\n", "", "has no kind"; "a policy without kind")]
#[test_case(DENY, DENY, "[]", "is no object"; "a list for a policy")]
#[tokio::test]
async fn what_is_of_a_wrong_type_changes_nothing(good: &str, part: &str, wrong: &str, says: &str) {
    let folder = folder_of(&[("a.yaml", good.as_bytes())]);
    let mut watched = Watched::new(folder.path());
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    let bad = good.replace(part, wrong);
    assert_ne!(bad, good);
    replace(&folder.path().join("a.yaml"), &bad);
    assert_eq!(watched.caught_up(folder.path()).await, 0);
    let said: Vec<_> = watched.store.problems().map(ToString::to_string).collect();
    assert!(said.iter().any(|line| line.contains(says)), "{said:?}");
    replace(&folder.path().join("a.yaml"), good);
    assert_eq!(watched.caught_up(folder.path()).await, 0);
    assert_eq!(watched.store.problems().count(), 0);
}

/// A policy whose name can be read is closed instead.
#[test_case("spec: []"; "spec is a list")]
#[test_case("spec: everything"; "spec is a word")]
#[test_case("spec: {podSelector: []}"; "selector is a list")]
#[test_case("spec: {podSelector: {}, ingress: {}}"; "rules are a map")]
#[test_case("spec: {podSelector: {}, ingress: [[]]}"; "a rule is a list")]
#[test_case("spec: {podSelector: {}, ingress: [{from: {}}]}"; "peers are a map")]
#[test_case("spec: {podSelector: {}, ingress: [{from: [[]]}]}"; "a peer is a list")]
#[test_case("spec: {podSelector: {}, ingress: [{ports: 80}]}"; "ports are a number")]
#[test_case("spec: {podSelector: {}, ingress: [{ports: [80]}]}"; "a port is a number")]
#[tokio::test]
async fn a_policy_of_a_wrong_type_is_closed(wrong: &str) {
    let open = DENY.replace("podSelector: {}", "podSelector: {}, ingress: [{}]");
    let folder = folder_of(&[("a.yaml", open.as_bytes())]);
    let mut watched = Watched::new(folder.path());
    watched.caught_up(folder.path()).await;
    let bad = DENY.replace("spec: {podSelector: {}}", wrong);
    replace(&folder.path().join("a.yaml"), &bad);
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    let policy = watched.store.snapshot().policies.values().next().unwrap();
    assert!(policy.fault.is_some());
    assert_eq!(policy.ingress.as_deref(), Some(&[][..]));
}

/// As the kubelet does it: every file is a link through `..data`, which is swapped.
#[tokio::test]
async fn a_swapped_link_is_noticed() {
    let folder = folder_of(&[
        ("..1/a.yaml", POD.as_bytes()),
        ("..2/a.yaml", POD.replace("web", "api").as_bytes()),
    ]);
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    let mut watched = Watched::new(folder.path());
    assert_eq!(watched.caught_up(folder.path()).await, 1);
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(
        folder.path().join("..data_tmp"),
        folder.path().join("..data"),
    )
    .unwrap();
    assert_eq!(watched.caught_up(folder.path()).await, 2);
    assert!(watched.pod("api"));
}

#[tokio::test]
async fn the_target_of_a_link_is_watched_where_it_lies() {
    let elsewhere = folder_of(&[("real.yaml", POD.as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    symlink(
        elsewhere.path().join("real.yaml"),
        folder.path().join("a.yaml"),
    )
    .unwrap();
    let mut watched = Watched::new(folder.path());
    watched.caught_up(folder.path()).await;
    replace(
        &elsewhere.path().join("real.yaml"),
        &POD.replace("web", "api"),
    );
    watched.caught_up(folder.path()).await;
    assert!(watched.pod("api"));
}

#[tokio::test]
async fn a_folder_that_comes_late_or_goes_away() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("late");
    let mut watched = Watched::new(&path);
    while watched.store.missing().iter().any(|m| m.reason.is_none()) {
        watched.step().await;
    }
    assert!(!watched.store.is_synced());
    assert!(watched.store.missing()[0].to_string().contains("late"));
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), POD).unwrap();
    watched.caught_up(&path).await;
    assert!(watched.pod("web"));
    // What was known stands while the folder is away.
    fs::rename(&path, parent.path().join("away")).unwrap();
    while watched.store.unavailable().next().is_none() {
        assert_eq!(watched.step().await, 0);
    }
    assert!(watched.pod("web") && watched.store.is_synced());
}

/// A writer that has not closed its file is waited for.
#[tokio::test]
async fn a_file_is_not_read_while_it_is_being_written() {
    use std::io::Write;
    let folder = folder_of(&[("a.yaml", POD.as_bytes())]);
    let mut watched = Watched::new(folder.path());
    watched.caught_up(folder.path()).await;
    let mut file = fs::File::create(folder.path().join("b.yaml")).unwrap();
    for part in [
        POD.replace("web", "b1"),
        "---\n".to_owned(),
        POD.replace("web", "b2"),
    ] {
        file.write_all(part.as_bytes()).unwrap();
        file.flush().unwrap();
        assert!(watched.feed.try_next().is_none());
        tokio::task::yield_now().await;
    }
    drop(file);
    let event = watched.feed.next().await.unwrap();
    assert!(matches!(&event, Event::Replace(_)));
    assert_eq!(watched.store.handle(event).len(), 2);
}
