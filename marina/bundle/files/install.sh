#!/bin/sh
# Install Marina from this bundle. Nothing is asked of any network.
#
#   ./install.sh [PREFIX]           # default: /opt/marina; PYTHON names the interpreter
#
# Every file is held against SHA256SUMS first, and a file that does not stand there is refused:
# compare that file's own digest with the one that you were told by another way.
set -eu
cd "$(dirname "$0")"
prefix=${1:-/opt/marina}
python=${PYTHON:-python3}

fail() {
  echo "error: $1" >&2
  exit 1
}

sha256sum --check --strict --quiet SHA256SUMS || fail "this bundle is damaged: copy it once more"
find . -type f ! -path ./SHA256SUMS | sed 's|^\./||' | sort >"${TMPDIR:-/tmp}/marina-bundle.$$"
trap 'rm -f "${TMPDIR:-/tmp}/marina-bundle.$$"' EXIT
sed 's/^[0-9a-f]*  //' SHA256SUMS | sort | cmp -s - "${TMPDIR:-/tmp}/marina-bundle.$$" ||
  fail "this bundle holds files that SHA256SUMS does not name: remove them"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "expected Python 3.11 or newer as $python: set PYTHON"

mkdir -p "$prefix"
"$python" -m venv "$prefix/venv" || fail "expected Python with venv (Debian: python3-venv)"
"$prefix/venv/bin/python" -m pip install --quiet --disable-pip-version-check --isolated \
  --no-index --no-deps --no-cache-dir --require-hashes --find-links wheels -r requirements.txt
mkdir -p "$prefix/model_store" "$prefix/config" "$prefix/logs"
cp model_store/* "$prefix/model_store/"
for file in config/*; do
  sed "s|@PREFIX@|$prefix|g" "$file" >"$prefix/$file.new"
  mv "$prefix/$file.new" "$prefix/$file"
done

echo "installed in $prefix. Serve with"
echo "  $prefix/venv/bin/marina serve --model-store $prefix/model_store --log-dir $prefix/logs"
echo "or as a service of the user marina:"
echo "  useradd --system marina && chown -R marina $prefix/model_store $prefix/logs"
echo "  ln -s $prefix/config/marina.service /etc/systemd/system/ && systemctl enable --now marina"
