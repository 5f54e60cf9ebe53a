#!/bin/bash
# The image of kind's nodes: the published one where a registry answers, else one of our own,
# from Go modules and Debian packages. Prints the image's name.
#
#   NODE_IMAGE=name    this image, whatever the registry says
#   NODE_IMAGE=own     our own
. "$(dirname "$0")/env.sh"

version=$(kubernetes_version)
published=kindest/node:$version
if [ -n "${NODE_IMAGE:-}" ] && [ "$NODE_IMAGE" != own ]; then
  say "node image: $NODE_IMAGE, as asked"
  echo "$NODE_IMAGE"
  exit
fi
if [ "${NODE_IMAGE:-}" != own ]; then
  if docker image inspect "$published" >/dev/null 2>&1; then
    say "node image: $published, which is here"
    echo "$published"
    exit
  fi
  if registry_answers && inside docker pull -q "$published" >"$KIND_CACHE/log/pull" 2>&1; then
    say "node image: $published, from its registry"
    echo "$published"
    exit
  fi
fi

# === Our own ===

sources=$(cd "$HERE" && cat node-image.sh $(find node pause kind -type f | sort) ../controlplane/go.mod ../controlplane/coredns/* | sha256sum | cut -c1-12)
image=ringfence-e2e/node:$version-$sources
if docker image inspect "$image" >/dev/null 2>&1; then
  say "node image: $image, our own, which is here (no registry answers)"
  echo "$image"
  exit
fi
say "node image: $image, made here from Go modules and Debian packages (no registry answers)"
root=$KIND_CACHE/root
# One waits for the network, the other for the processors.
"$HERE/debian.sh" "$root" systemd systemd-sysv dbus iproute2 iptables nftables ipset conntrack kmod procps ethtool \
  socat mount ebtables containerd runc ca-certificates jq hostname util-linux containernetworking-plugins >&2 &
debian=$!
"$ROOT/e2e/controlplane/build.sh" "$CONTROLPLANE" nodes
(cd "$HERE/pause" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags="-s -w" -o "$KIND_CACHE/bin/pause" .)
wait "$debian"
lap "Kubernetes' programs, Debian root"

context=$(mktemp -d "$KIND_CACHE/image.XXXXXX")
trap 'rm -rf "$context"' EXIT
mkdir -p "$context"/{bin,images/node,images/control-plane,root}

# What kubeadm will ask for, under exactly these names.
named() { "$CONTROLPLANE/kubeadm" config images list --kubernetes-version "$version" 2>/dev/null | grep "/$1:"; }

# archive ROLE NAME IMAGE ROOT ENTRYPOINT: an image of a folder, as an archive for the node.
archive() {
  tar --numeric-owner --owner=0 --group=0 -C "$4" -c . |
    docker import -c "ENTRYPOINT [\"$5\"]" -c 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$3" >/dev/null
  docker save "$3" -o "$context/images/$1/$2.tar"
  docker image rm "$3" >/dev/null
}
# program ROLE NAME FILE: an image with one static program, in a folder of PATH: kubeadm's
# manifests name only the program.
program() {
  mkdir -p "$context/root/$2"/{etc,tmp,usr/local/bin}
  cp "$3" "$context/root/$2/usr/local/bin/"
  archive "$1" "$2" "$(named "$2")" "$context/root/$2" "/usr/local/bin/$2"
}
program node pause "$KIND_CACHE/bin/pause"
program node coredns "$CONTROLPLANE/coredns"
for name in kube-apiserver kube-controller-manager kube-scheduler etcd; do
  program control-plane "$name" "$CONTROLPLANE/$name"
done

# kube-proxy calls iptables and nft: Debian's, with the libraries that they and their
# extensions want (without libxt_statistic and libm a Service with several endpoints fails,
# and nobody says so).
proxy=$context/root/kube-proxy
libraries=usr/lib/x86_64-linux-gnu
mkdir -p "$proxy"/usr/{sbin,bin,local/bin,lib64} "$proxy/$libraries" "$proxy"/{etc,run,tmp,var/lib}
ln -s usr/sbin "$proxy/sbin"; ln -s usr/bin "$proxy/bin"; ln -s usr/lib "$proxy/lib"; ln -s usr/lib64 "$proxy/lib64"
cp "$CONTROLPLANE/kube-proxy" "$proxy/usr/local/bin/"
cp "$root"/usr/sbin/{xtables-nft-multi,nft,conntrack} "$proxy/usr/sbin/"
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
  ln -s xtables-nft-multi "$proxy/usr/sbin/$name"
done
cp -a "$root/$libraries/xtables" "$proxy/$libraries/"
cp -L "$root/$libraries/ld-linux-x86-64.so.2" "$proxy/usr/lib64/"
chroot "$root" sh -c "ldd /usr/sbin/xtables-nft-multi /usr/sbin/nft /usr/sbin/conntrack /$libraries/xtables/*.so" |
  grep -oE '/lib/[^ ]+\.so[^ :]*' | grep -v xtables/lib | sort -u |
  while read -r library; do cp -L "$root$library" "$proxy/$libraries/"; done
archive node kube-proxy "$(named kube-proxy)" "$proxy" /usr/local/bin/kube-proxy
lap "images of Kubernetes"

# The kubelet's sandbox image must be the one that kubeadm names.
cp "$CONTROLPLANE"/{kubelet,kubeadm,kubectl} "$context/bin/"
cp -r "$HERE/node" "$context/node"
sed -i "s|@PAUSE@|$(named pause)|" "$context/node/etc/containerd/config.toml"
echo "$version" >"$context/node/kind/version"
rm -rf "$context/root"
tar -C "$root" --one-file-system --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* --exclude=./boot/* \
  -c . | docker import - ringfence-e2e/node-root >/dev/null
cat >"$context/Dockerfile" <<'DOCKERFILE'
FROM ringfence-e2e/node-root
COPY bin/ /usr/bin/
COPY images/ /kind/images/
COPY node/ /
# A machine inside a container: what would touch the kernel's or the host's devices is off.
RUN set -e; \
    rm -f /etc/systemd/system/*.wants/* /lib/systemd/system/multi-user.target.wants/* \
      /lib/systemd/system/local-fs.target.wants/* /lib/systemd/system/basic.target.wants/* \
      /lib/systemd/system/sockets.target.wants/*udev* /lib/systemd/system/sockets.target.wants/*initctl* \
      /lib/systemd/system/sysinit.target.wants/*tmpfiles-setup.service; \
    echo ReadKMsg=no >> /etc/systemd/journald.conf; \
    systemctl enable containerd kubelet load-images; \
    systemctl mask systemd-binfmt.service systemd-sysctl.service systemd-modules-load.service systemd-udevd.service \
      systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-random-seed.service systemd-logind.service \
      systemd-firstboot.service systemd-networkd.service systemd-resolved.service dev-hugepages.mount \
      sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount; \
    ln -sf multi-user.target /lib/systemd/system/default.target; \
    mkdir -p /etc/kubernetes/manifests /etc/cni/net.d /opt/cni; ln -sfn /usr/lib/cni /opt/cni/bin; \
    update-alternatives --set iptables /usr/sbin/iptables-nft; update-alternatives --set ip6tables /usr/sbin/ip6tables-nft
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]
DOCKERFILE
log=$KIND_CACHE/log/node-image
docker build --network none -t "$image" "$context" >"$log" 2>&1 || { tail -20 "$log" >&2; fail "building the node image failed; its log is $log"; }
docker image rm ringfence-e2e/node-root >/dev/null 2>&1 || true
lap "node image"
echo "$image"
