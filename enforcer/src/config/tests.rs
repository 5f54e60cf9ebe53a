use super::*;
use clap::{CommandFactory, Parser};
use test_case::test_case;

fn cli(flags: &[&str]) -> Cli {
    Cli::try_parse_from([&["ringfence-enforcer"], flags].concat()).unwrap()
}

fn settings(flags: &[&str]) -> Settings {
    Settings::resolve(&cli(flags), Some("worker-1".to_owned())).unwrap()
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn defaults() {
    let s = settings(&[]);
    assert_eq!(&*s.node, "worker-1");
    assert_eq!(s.origin, Origin::Kubernetes);
    assert_eq!(s.sync_period, Duration::from_mins(5));
    assert_eq!(s.cache_sync_timeout, Duration::from_mins(1));
    assert_eq!(s.health, Some("0.0.0.0:20244".parse().unwrap()));
    assert_eq!(s.metrics, Some("0.0.0.0:20241".parse().unwrap()));
    assert_eq!(s.deny, DenyAction::Reject);
    assert!(!s.keep_established);
    assert!(!s.verdicts.enforce_node_traffic);
    assert!(s.verdicts.drop_unknown_pods);
    assert!(!s.unknown_pods_required);
    assert_eq!(s.common.mark.bits(), 0x1000);
    assert_eq!(s.common.flavour, None);
    assert_eq!(s.common.state_dir, PathBuf::from("/var/lib/ringfence"));
}

#[test]
fn the_flag_wins_over_node_name() {
    assert_eq!(&*settings(&["--node-name=other"]).node, "other");
}

#[test]
fn a_missing_node_name_is_an_error_that_says_what_to_do() {
    let error = Settings::resolve(&cli(&[]), None).unwrap_err().to_string();
    assert!(
        error.contains("--node-name") && error.contains("NODE_NAME"),
        "{error}"
    );
}

#[test_case(&["--sync-period=1m30s"], 90; "its name")]
#[test_case(&["--iptables-sync-period=10m"], 600; "its alias, from kube-router")]
#[test_case(&["--iptables-sync-period", "5m0s"], 300; "as Go prints it")]
fn sync_period(flags: &[&str], seconds: u64) {
    assert_eq!(settings(flags).sync_period, Duration::from_secs(seconds));
}

#[test_case(&["--source=folder:/srv/objects"], &Origin::Folder("/srv/objects".into()); "a folder")]
#[test_case(&["--source=kubernetes"], &Origin::Kubernetes; "kubernetes")]
fn source(flags: &[&str], origin: &Origin) {
    assert_eq!(&settings(flags).origin, origin);
}

#[test_case(&["--health-port=0"], false, true, false; "health off")]
#[test_case(&["--metrics-port=0"], true, false, false; "metrics off")]
#[test_case(&["--metrics-port=20244"], true, false, true; "one port for both")]
#[test_case(&["--metrics-port=0", "--health-port=0"], false, false, true; "both off")]
fn ports(flags: &[&str], health: bool, metrics: bool, shared: bool) {
    let s = settings(flags);
    assert_eq!(
        (s.health.is_some(), s.metrics.is_some(), s.metrics_on_health),
        (health, metrics, shared)
    );
}

#[test_case(&["--unknown-pods=drop"], true, true; "drop")]
#[test_case(&["--unknown-pods=allow"], false, false; "allow")]
fn unknown_pods(flags: &[&str], drop: bool, required: bool) {
    let s = settings(flags);
    assert_eq!(
        (s.verdicts.drop_unknown_pods, s.unknown_pods_required),
        (drop, required)
    );
}

#[test_case(&["--mark=0x3000"], "exactly one bit"; "mark of two bits")]
#[test_case(&["--sync-period=300"], "without a unit"; "duration without unit")]
#[test_case(&["--source=etcd"], "folder:PATH"; "unknown source")]
#[test_case(&["--deny-action=refuse"], "reject"; "unknown action")]
#[test_case(&["--health-port=70000"], "65535"; "port out of range")]
#[test_case(&["--run-router=perhaps"], "true"; "no boolean")]
fn refused(flags: &[&str], said: &str) {
    let error = Cli::try_parse_from([&["ringfence-enforcer"], flags].concat())
        .unwrap_err()
        .to_string();
    assert!(error.contains(said), "{error}");
}

#[test_case(&["--run-router"], "CNI"; "router")]
#[test_case(&["--run-router=true"], "CNI"; "router, with a value")]
#[test_case(&["--run-router=false"], "never does that"; "no router")]
#[test_case(&["--run-firewall=true"], "always enforced"; "firewall")]
#[test_case(&["--run-firewall=false"], "cleanup"; "no firewall")]
#[test_case(&["--run-service-proxy"], "kube-proxy"; "proxy")]
#[test_case(&["--mark=0x4000"], "kube-proxy"; "a mark that is taken")]
fn warned(flags: &[&str], said: &str) {
    let warnings = cli(flags).warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains(said), "{warnings:?}");
}

#[test]
fn a_kube_router_flag_does_not_eat_the_next_argument() {
    let cli = cli(&["--run-router", "cleanup"]);
    assert!(matches!(cli.command, Some(Command::Cleanup)));
}

#[test]
fn common_flags_stand_before_and_after_the_command() {
    for flags in [["--mark=0x10000", "cleanup"], ["cleanup", "--mark=0x10000"]] {
        assert_eq!(cli(&flags).common.mark.bits(), 0x1_0000);
    }
}

#[test]
fn every_flag_has_an_environment_variable_of_its_name() {
    for argument in Cli::command().get_arguments() {
        let Some(long) = argument
            .get_long()
            .filter(|l| !["help", "version"].contains(l))
        else {
            continue;
        };
        let expected = format!("RINGFENCE_{}", long.to_uppercase().replace('-', "_"));
        let found = argument.get_env().and_then(|name| name.to_str());
        assert_eq!(found, Some(expected.as_str()), "--{long}");
    }
}

#[test]
fn kube_routers_flags_stay_out_of_the_short_help() {
    assert!(
        !Cli::command()
            .render_help()
            .to_string()
            .contains("--run-router")
    );
    let long = Cli::command().render_long_help().to_string();
    assert!(
        long.contains("--run-router") && long.contains("kube-router"),
        "{long}"
    );
}

#[test]
fn a_folder_and_a_kubeconfig_exclude_each_other() {
    let cli = cli(&["--source=folder:/x", "--kubeconfig=/y"]);
    assert!(Settings::resolve(&cli, Some("n".into())).is_err());
}
