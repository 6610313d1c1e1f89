#!/bin/sh
# Entry point of every image: runs one service, and keeps its ready line where the health check looks.
set -eu
certificates=/run/secrets/certificates
if grep -q 'BEGIN CERTIFICATE' "$certificates" 2>/dev/null; then
  export SSL_CERT_FILE="$certificates"
fi
exec 3>/tmp/ready
export VITRINE_READY_FD=3
exec python -m "vitrine_$1"
