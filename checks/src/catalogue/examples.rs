//! What several examples have in common. Macros, because only literals can be put together.

/// Where the API server is.
macro_rules! api_server {
    () => {
        "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
endpoints: [{addresses: [192.0.2.10]}]
ports: [{name: https, port: 6443}]
---
"
    };
}

/// A Service, and the Ingress that leads to it.
macro_rules! web_behind_ingress {
    () => {
        "\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
---
"
    };
}

pub(crate) use {api_server, web_behind_ingress};
