#!/usr/bin/env bash
# EMR bootstrap action: puts the project on a node, where the executable jar's workers are started from.
#   bootstrap.sh FOLDER WHEEL CONSTRAINTS EXPANSION     the last three at s3://
# leaves FOLDER/bin/margin-boot-python, FOLDER/bin/margin-boot-java and FOLDER/build/jvm/kafka-expansion.jar.
# EMR starts no cluster whose bootstrap action fails, so a node without them never takes work.
set -euo pipefail

if [ $# -ne 4 ]; then
  echo "expected FOLDER WHEEL CONSTRAINTS EXPANSION, found $# arguments" >&2
  exit 2
fi
folder=$1 wheel=$2 constraints=$3 expansion=$4
downloads=$(mktemp -d)
trap 'rm -rf "$downloads"' EXIT

# Amazon Linux 2023 has Python 3.9 for itself and 3.11 beside it.
sudo dnf install --quiet --assumeyes python3.11 python3.11-pip
for object in "$wheel" "$constraints" "$expansion"; do
  aws s3 cp --only-show-errors "$object" "$downloads/"
done

sudo python3.11 -m venv "$folder"
sudo "$folder/bin/pip" install --quiet --no-cache-dir "$downloads/${wheel##*/}" --constraint "$downloads/${constraints##*/}"
# YARN's user reads it and holds a lock beside it.
sudo install --directory --mode=1777 "$folder/build/jvm"
sudo install --mode=644 "$downloads/${expansion##*/}" "$folder/build/jvm/kafka-expansion.jar"

for language in python java; do
  "$folder/bin/margin-boot-$language" --help >/dev/null
done
