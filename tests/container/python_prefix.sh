#!/bin/sh
# Puts Debian's Python below /usr/local of a system, as it is in the image python, with pip.
#   UNPACKED=directory PYTHON=3.13 python_prefix.sh ROOT
set -eu
root=$1
version=python$PYTHON
library=$root/usr/local/lib/$version

mkdir -p "$root/usr/local/bin" "$root/usr/local/lib"
cp -a "$UNPACKED/usr/bin/$version" "$root/usr/local/bin/"
cp -a "$UNPACKED/usr/lib/$version" "$root/usr/local/lib/"
for name in python3 python; do ln -sf "$version" "$root/usr/local/bin/$name"; done

# Debian's scheme for what pip installs is one below Python's; there is none of Debian's here.
for file in "$library/sysconfig.py" "$library/sysconfig/__init__.py"; do
  [ ! -f "$file" ] || sed -i "s/'posix_local')/'posix_prefix')/; s/prefix_scheme = 'posix_local'/prefix_scheme = 'posix_prefix'/" "$file"
done
rm -rf "$library/EXTERNALLY-MANAGED" "$library/sitecustomize.py" "$library/dist-packages"
mkdir -p "$library/site-packages"
# Debian's site module is frozen into the binary and looks there.
ln -s site-packages "$library/dist-packages"

mkdir -p "$root/tmp/wheels"
cp "$UNPACKED"/usr/share/python-wheels/*.whl "$root/tmp/wheels/"
chroot "$root" sh -ec 'cd /tmp/wheels; python $(echo pip-*.whl)/pip install -q --no-cache-dir \
  --no-compile --no-index --root-user-action=ignore ./*.whl'
rm -rf "$root/tmp/wheels"
chroot "$root" python -c 'import pip, ssl, sqlite3, lzma, bz2, ctypes, readline, sys; assert sys.prefix == "/usr/local", sys.prefix'
