//! How the programs run.

use crate::objects::{items, name, of_kind, texts};

#[test]
fn pods_are_restricted_and_drained() {
    for deployment in of_kind(&["Deployment"]) {
        let (who, pod) = (name(&deployment), &deployment["spec"]["template"]["spec"]);
        assert!(
            deployment["spec"]["replicas"].as_u64().unwrap() >= 2,
            "{who}"
        );
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{who}");
        assert_eq!(
            security["seccompProfile"]["type"], "RuntimeDefault",
            "{who}"
        );
        assert!(pod["affinity"]["podAntiAffinity"].is_object(), "{who}");
        assert!(
            pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 15,
            "{who}"
        );
        for field in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
            assert!(pod.get(field).is_none(), "{who}: {field}");
        }
        for container in items(pod, "containers") {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{who}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{who}");
            assert_eq!(texts(&security["capabilities"], "drop"), ["ALL"], "{who}");
            assert_eq!(
                container["livenessProbe"]["httpGet"]["path"], "/livez",
                "{who}"
            );
            assert_eq!(
                container["readinessProbe"]["httpGet"]["path"], "/readyz",
                "{who}"
            );
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{who}"
            );
            let mounts = items(container, "volumeMounts").iter();
            assert!(
                mounts
                    .clone()
                    .all(|m| m["readOnly"] == true && m.get("subPath").is_none()),
                "{who}"
            );
        }
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let budgets = of_kind(&["PodDisruptionBudget"]);
        let budget = budgets.iter().find(|b| name(b) == who).unwrap();
        assert_eq!(
            &budget["spec"]["selector"]["matchLabels"], selector,
            "{who}"
        );
        assert_eq!(
            labels["app.kubernetes.io/name"], selector["app.kubernetes.io/name"],
            "{who}"
        );
    }
}
