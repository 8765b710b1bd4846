#!/bin/sh
# rootfs.sh ROOT PROGRAM...: makes ROOT a file system that holds the programs (stripped, in /usr/bin), the shared
# libraries they load with the licences of their packages, an unprivileged user, and nothing else.
set -eu
root=$1
shift

install -d "$root/etc" "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/usr/share/doc/attnd"
install -d -m 1777 "$root/tmp"
ln -s usr/lib "$root/lib"
ln -s usr/lib64 "$root/lib64"
install -m 755 -s -t "$root/usr/bin" "$@"
install -m 644 LICENSE "$root/usr/share/doc/attnd/copyright"
# attnctl has this font in it.
install -D -m 644 -t "$root/usr/share/doc/fonts-dejavu-core" /usr/share/doc/fonts-dejavu-core/copyright

# ldd names each library as `name => path` and the loader as a bare path.
libraries=$(ldd "$@" | awk '$2 == "=>" { print $3 } $1 ~ /^\// && $1 !~ /:$/ { print $1 }' | sort -u)
for library in $libraries; do
  folder=$(realpath "$(dirname "$library")")
  install -D -m 755 "$(realpath "$library")" "$root$folder/$(basename "$library")"
  package=$(dpkg -S "$(realpath "$library")" | sed 's/:.*//')
  install -D -m 644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done
ldconfig -r "$root"

echo 'attnd:x:65532:65532::/:/nonexistent' >"$root/etc/passwd"
echo 'attnd:x:65532:' >"$root/etc/group"
