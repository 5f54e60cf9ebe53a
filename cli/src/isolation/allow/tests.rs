use super::*;
use clap::Parser;
use serde_json::{Value, json};
use test_case::test_case;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    args: AllowArgs,
}

fn rule(flags: &str) -> Result<Value> {
    let cli = Cli::try_parse_from(["allow"].into_iter().chain(flags.split(' ')))?;
    let now = "2026-06-01T12:00:00.5Z".parse().unwrap();
    let made = Made::new(&cli.args.rule(now)?, "isolationrules")?;
    Ok(made.value)
}

#[test_case("--to shop --from friend", "shop/from-friend",
    &json!({"direction": "Ingress", "peer": {"namespace": "friend"}}); "a namespace comes in")]
#[test_case("--to shop --from friend --direction egress", "friend/to-shop",
    &json!({"direction": "Egress", "peer": {"namespace": "shop"}}); "and lets out")]
#[test_case("--from shop --to service/demo-project-2/nginx", "shop/to-demo-project-2-nginx",
    &json!({"direction": "Egress", "peer": {"service": {"namespace": "demo-project-2", "name": "nginx"}}}); "to a Service")]
#[test_case("--to shop --from 192.168.1.1 --ports demo-service/80", "shop/from-192-168-1-1-32-demo-service-80",
    &json!({"direction": "Ingress", "peer": {"cidr": {"cidr": "192.168.1.1/32"}}, "ports": [{"servicePort": "demo-service/80"}]}); "an address, by the Service's port")]
#[test_case("--from shop --to 10.0.0.0/8 --except 10.1.0.0/16,10.2.0.0/16 --ports 80,8000-8100/udp,http/TCP", "shop/to-10-0-0-0-8-80-tcp-8000-8100-udp-http-tcp",
    &json!({"direction": "Egress", "peer": {"cidr": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.2.0.0/16"]}},
        "ports": [{"port": 80}, {"port": 8000, "endPort": 8100, "protocol": "UDP"}, {"port": "http", "protocol": "TCP"}]}); "ranges and ports")]
#[test_case("--to shop --from fd00::/8 --reason balancer --name lb", "shop/lb",
    &json!({"direction": "Ingress", "peer": {"cidr": {"cidr": "fd00::/8"}}, "reason": "balancer"}); "a name and a reason")]
#[test_case("--to shop --from friend --for 24h", "shop/from-friend",
    &json!({"direction": "Ingress", "peer": {"namespace": "friend"}, "expiresAt": "2026-06-02T12:00:01Z"}); "for a day")]
#[test_case("--to shop --from friend --for 2w", "shop/from-friend",
    &json!({"direction": "Ingress", "peer": {"namespace": "friend"}, "expiresAt": "2026-06-15T12:00:01Z"}); "for two weeks")]
#[test_case("--to shop --from friend --until 2027-01-01T00:00:00Z", "shop/from-friend",
    &json!({"direction": "Ingress", "peer": {"namespace": "friend"}, "expiresAt": "2027-01-01T00:00:00Z"}); "until a time")]
fn rules(flags: &str, name: &str, spec: &Value) {
    let value = rule(flags).unwrap();
    let metadata = &value["metadata"];
    let found = [&metadata["namespace"], &metadata["name"]].map(|v| v.as_str().unwrap());
    assert_eq!(found.join("/"), name);
    assert_eq!(&value["spec"], spec);
    assert_eq!(value["kind"], "IsolationRule");
    assert!(value.get("status").is_none());
}

#[test_case("--to shop --from 10.1.0.5/24", "write 10.1.0.0/24 or 10.1.0.5"; "bits behind the prefix")]
#[test_case("--to shop --from http://10.1.0.1:80", "write a namespace, service/"; "a URL")]
#[test_case("--to Shop --from friend", "lower-case"; "no name of a namespace")]
#[test_case("--to 10.0.0.1 --from 10.0.0.2", "a rule stands in a namespace"; "two addresses")]
#[test_case("--to 10.0.0.1 --from shop --direction ingress", "a rule stands in a namespace"; "into an address")]
#[test_case("--to shop --from friend --except 10.0.0.0/8", "only a CIDR has exceptions"; "an exception of a namespace")]
#[test_case("--to shop --from 10.0.0.0/24 --except 10.1.0.0/24", "write a CIDR inside of 10.0.0.0/24"; "an exception outside")]
#[test_case("--to shop --from friend --ports 0", "write 80, 80/TCP"; "port 0")]
#[test_case("--to shop --from friend --ports 90-80", "from a smaller port"; "a range backwards")]
#[test_case("--to shop --from friend --ports 80/ICMP", "write 80, 80/TCP"; "a protocol without ports")]
#[test_case("--from shop --to 10.0.0.1 --ports web/80", "has no Services"; "a Service of an address")]
#[test_case("--to shop --from friend --until 2026-01-01T00:00:00Z", "still to come"; "the past")]
#[test_case("--to shop --from friend --for=-1h", "still to come"; "backwards")]
#[test_case("--to shop --from friend --for soon", "--for"; "no time")]
fn refusals(flags: &str, expected: &str) {
    let error = format!("{:#}", rule(flags).unwrap_err());
    assert!(error.contains(expected), "{error}");
}
