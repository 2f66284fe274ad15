#!/bin/sh
# Runs one job of the portal on a provider's machine. Needs a POSIX shell, and one of curl, python3 and wget where
# something is to be fetched or sent.
# Prints nothing of its own unless something fails, and never an address or a value. Manifest and exit codes: bootstrap.py.
set -u

main() {
    trap on_stop TERM INT # first: number 1 of a container does not hear what it does not trap
    claim_directory
    choose_tools
    fetch_manifest
    claim_attempt
    start_log
    make_places
    stage
    run_command
    finish "$code"
}

# The atomic mkdir lets one copy through, whatever was sent twice. Its directory is private: it will hold addresses.
claim_directory() {
    work=${PORTAL_WORK_DIR:-$PWD}
    mkdir -p "$work" 2>/dev/null && work=$(cd "$work" && pwd) && cd "$work" || die 95 "cannot use the work directory"
    work=${work%/}
    own=$work/.portal
    if ! mkdir "$own" 2>/dev/null; then
        [ -d "$own" ] && exit 98
        die 95 "cannot write to the work directory"
    fi
    chmod 700 "$own"
    : >"$own/running" # what waits in the background looks here before it acts
}

choose_tools() {
    if has curl; then web=curl
    elif has python3; then web=python3
    elif has wget; then web=wget
    fi
    if has base64; then decoder=base64
    elif has openssl; then decoder=openssl
    elif has python3; then decoder=python3
    else die 97 "this image has none of base64, openssl and python3: one of them is needed to read the job"
    fi
}

needs_web() {
    [ -n "$web" ] || die 97 "this image has none of curl, python3 and wget: one of them is needed to fetch the job"
}

needs_sum() {
    has sha256sum || has openssl || has python3 ||
        die 97 "this image has none of sha256sum, openssl and python3: one of them is needed to check what was fetched"
}

fetch_manifest() {
    if [ -n "${PORTAL_MANIFEST_FILE:-}" ]; then
        pushed=${PORTAL_MANIFEST_FILE%/*}
        mv "$PORTAL_MANIFEST_FILE" "$own/manifest" || die 95 "cannot read the job's manifest"
    else
        needs_web
        [ -n "${PORTAL_MANIFEST_URL:-}" ] || die 95 "PORTAL_MANIFEST_URL is not set"
        pause=1
        until fetch "$PORTAL_MANIFEST_URL" "$own/manifest"; do # a store that begins anew is back within seconds
            [ -z "$stopped" ] || finish 143
            rm -f "$own/manifest"
            [ "$pause" -le "${PORTAL_FETCH_PAUSE_S:-16}" ] || die 95 "cannot fetch the job's manifest"
            rest "$pause"
            pause=$((pause * 2))
        done
    fi
    first='' last=''
    while read -r line <&9; do
        last=$line
        [ -n "$first" ] || first=$line
    done 9<"$own/manifest"
    [ "$first" = "portal-manifest${tab}1" ] && [ "$last" = end ] || die 95 "the job's manifest is cut or not ours"
    put_output=$(record put-output)
    put_log=$(record put-log)
    log_every=$(record log-every)
    [ -z "$put_output$put_log$(record claim)" ] || needs_web
    if [ -n "$put_output$put_log" ] && [ "$web" = wget ] && ! wget --help 2>&1 | grep -q body-file; then
        die 97 "this image's wget cannot upload: curl or python3 is needed"
    fi
}

# Copies that share no disk ask the portal, which says yes to one of them. Asked again by the same copy, because the
# answer was lost, it says yes again. Before the log is begun: what a second copy has to say is not the job's.
claim_attempt() {
    claim_url=$(record claim)
    [ -n "$claim_url" ] || return 0
    { read -r copy </proc/sys/kernel/random/uuid; } 2>/dev/null || die 95 "this machine has no /proc to name this copy by"
    printf 'copy=%s&remote_id=%s' "$copy" "${SAKURA_TASK_ID:-${SLURM_JOB_ID:-}}" >"$own/copy"
    pause=1 deadline=$(($(date +%s) + ${PORTAL_CLAIM_WAIT_S:-120}))
    while :; do
        ask "$own/copy" "$claim_url"
        case $(status_in "$own/answer") in
            200) return 0 ;;
            409 | 410) finish 98 ;; # another copy has it; or the portal wants it no more
        esac
        [ -z "$stopped" ] || finish 143
        [ "$(date +%s)" -lt "$deadline" ] || die 95 "the portal did not say whether this copy of the job may run"
        rest "$pause"
        [ "$pause" -ge 16 ] || pause=$((pause * 2))
    done
}

# From here on everything printed goes to the job's own output and, where the portal wants it, into a file as well.
start_log() {
    exec 2>&1
    [ -n "$put_log" ] || return 0
    mkfifo "$own/pipe" && : >"$own/log" || die 95 "cannot write to the work directory"
    (trap '' TERM INT; exec tee "$own/log") <"$own/pipe" &
    tee_pid=$!
    exec 3>&1 >"$own/pipe" 2>&1
    (exec >/dev/null 2>&1 3>&-; save_log_while_it_grows) & # dash keeps a redirected function's old output open
    saver=$!
}

make_places() {
    PORTAL_DATA_DIR=${PORTAL_DATA_DIR:-$work/data}
    PORTAL_OUTPUT_DIR=${SAKURA_ARTIFACT_DIR:-$work/output}
    PORTAL_JOB=$(record job)
    PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1} # or a live log shows a Python program's lines minutes late
    export PORTAL_DATA_DIR PORTAL_OUTPUT_DIR PORTAL_JOB PYTHONUNBUFFERED
    mkdir -p "$PORTAL_DATA_DIR" "$PORTAL_OUTPUT_DIR" || die 95 "cannot make the data and output directories"
}

stage() {
    while IFS=$tab read -r kind url sum size path <&9; do
        case $kind in
            input) place "$url" "$sum" "$size" "$PORTAL_DATA_DIR" "$path" ;;
            script)
                place "$url" "$sum" "$size" "$work" "$path"
                chmod 700 "$work/$path" || die 95 "cannot make $path executable"
                ;;
        esac
    done 9<"$own/manifest"
    [ -z "$pushed" ] || rmdir "$pushed" 2>/dev/null # all that was in it has moved
}

place() { # url sha256 size_bytes directory relative_path
    case /$5/ in */../* | */./* | *//*) die 95 "the job's manifest names a path outside its directory" ;; esac
    target=$4/$5
    mkdir -p "${target%/*}" || die 95 "cannot make the directory of $5"
    [ ! -d "$target" ] || die 95 "cannot write the file $5: a directory has this name" # mv would put it inside
    needs_sum
    case $1 in
        file:*)
            part=$pushed/${1#file:}
            [ -f "$part" ] || die 96 "input $5 was not brought to this machine"
            [ "$(size_of "$part")" = "$3" ] || die 96 "input $5 has another size than the portal stored"
            [ "$(sha256_of "$part")" = "$2" ] || die 96 "input $5 has another checksum than the portal stored"
            mv "$part" "$target" || die 95 "cannot write the file $5"
            return 0
            ;;
    esac
    needs_web
    : >"$own/part"
    anew='' pause=1
    while :; do
        had=$(size_of "$own/part")
        fetch "$1" "$own/part" 2>"$own/said"
        fetched=$?
        size=$(size_of "$own/part")
        if [ "$size" = "$3" ] && [ "$(sha256_of "$own/part")" = "$2" ]; then
            mv "$own/part" "$target" || die 95 "cannot write the file $5"
            return 0
        fi
        [ -z "$stopped" ] || finish 143
        if [ "$fetched" = 0 ] || [ "$size" -ge "$3" ]; then # whole, and not what it should be: once more, all of it
            if [ "$size" = "$3" ]; then wrong="has another checksum than the portal stored"
            else wrong="has another size than the portal stored"
            fi
            [ -z "$anew" ] || break
            anew=1
            : >"$own/part"
        else # it broke off: the next try goes on from there, and tries that bring nothing become rarer and end
            wrong="cannot be fetched"
            if [ "$size" -gt "$had" ]; then pause=1; else pause=$((pause * 2)); fi
            if [ "$size" = 0 ]; then longest=8; else longest=32; fi
            [ "$pause" -le "$longest" ] || break
            rest "$pause"
        fi
    done
    rm -f "$own/part"
    cat "$own/said"
    die 96 "input $5 $wrong"
}

# The command gets a session of its own, so that a stop reaches all of its processes and none of ours.
run_command() {
    [ -z "$stopped" ] || finish 143
    (
        trap - TERM INT
        set --
        while IFS=$tab read -r kind name value <&9; do
            [ "$kind" = env ] || continue
            value=$(printf '%s' "$value" | decode; printf x) # the x keeps newlines at the end
            set -- "$@" "$name=${value%x}"
        done 9<"$own/manifest"
        unset PORTAL_MANIFEST_URL PORTAL_MANIFEST_FILE PORTAL_WORK_DIR PORTAL_OUTPUT_ARCHIVE PORTAL_CLEAN_UP
        unset PORTAL_CLAIM_WAIT_S PORTAL_FETCH_PAUSE_S PORTAL_STOP_GRACE_S
        exec 3>&-
        set -- "$@" --
        if has setsid; then set -- "$@" "$(command -v setsid)"; fi
        become "$@" /bin/sh -c "$(record command | decode)"
    ) </dev/null &
    child=$!
    group=$child
    : >"$own/running.command"
    await
    code=$?
    [ -z "$stopped" ] || let_it_save
    rm -f "$own/running.command"
    kill -KILL "-$group" 2>/dev/null # what it left in the background
    group=''
    case $code in
        9[4-8]) # BootstrapExit: the portal reads these as ours
            printf 'portal: %s\n' "the command ended with exit code $code, which the portal uses itself: reported as 1"
            code=1
            ;;
    esac
}

# The shell of the command line dies of a stop at once; the program that it started may still be saving.
let_it_save() {
    kill_after_grace
    waited=0 # tenths of a second; counted, because a process that nobody reaps never leaves its group
    while [ "$waited" -lt "$((${PORTAL_STOP_GRACE_S:-5} * 10))" ] && kill -0 "-$group" 2>/dev/null; do
        if sleep 0.1 2>/dev/null; then waited=$((waited + 1)); else sleep 1; waited=$((waited + 10)); fi
    done
}

# From the first export on every variable, IFS and PATH too, is the user's: only positional parameters are ours here.
become() { # NAME=value ... -- words of the program
    while :; do
        case $1 in --) break ;; esac
        # `command`, so that a name which the shell keeps for itself (bash: UID) does not end it.
        command export "$1" 2>/dev/null ||
            printf 'portal: %s\n' "this image's shell does not let go of the variable ${1%%=*}: it is left as it was"
        shift
    done
    shift
    exec "$@"
}

on_stop() {
    stopped=1
    [ -n "$child" ] || return 0
    kill -TERM "-$child" 2>/dev/null || kill -TERM "$child" 2>/dev/null
}

# Saves output and log, whatever happened before. A second stop must not cut the saving short: only KILL can.
finish() { # exit_code
    trap '' TERM INT
    code=$1
    if ! save_output; then
        printf 'portal: %s\n' "the output could not be saved"
        [ "$code" -ne 0 ] || code=94
    fi
    if [ -n "$tee_pid" ]; then
        exec >&3 2>&1 3>&-
        : >"$own/draining" # a daemon of the command may hold the pipe open for ever
        (sleep 5; [ ! -e "$own/draining" ] || kill -KILL "$tee_pid") >/dev/null 2>&1 &
        wait "$tee_pid" 2>/dev/null
        rm -f "$own/draining" "$own/running"
        kill "$saver" 2>/dev/null
        wait "$saver" 2>/dev/null # so that an older copy cannot land after the last
        send "$own/log" "$put_log" || send "$own/log" "$put_log" || printf 'portal: %s\n' "the log could not be saved"
    fi
    if [ -n "${PORTAL_CLEAN_UP:-}" ]; then # on a disk that outlives the job; the claim stays
        find "$work" -mindepth 1 -maxdepth 1 ! -name .portal -exec rm -rf {} +
        rm -f "$own/log"
    fi
    rm -f "$own"/manifest "$own"/request.* "$own"/copy "$own"/answer "$own"/said "$own"/pipe "$own"/running
    rm -f "$own"/part "$own"/log.part "$own"/output.tar.gz
    exit "$code"
}

save_output() {
    [ -n "${PORTAL_OUTPUT_DIR:-}" ] && [ -n "$put_output${PORTAL_OUTPUT_ARCHIVE:-}" ] || return 0
    [ -n "$(ls -A "$PORTAL_OUTPUT_DIR" 2>/dev/null)" ] || return 0
    pack "$own/output.tar.gz" || return 1
    if [ -n "$put_output" ]; then
        if [ "$(size_of "$own/output.tar.gz")" -gt 5368709120 ]; then
            printf 'portal: %s\n' "the packed output is larger than 5 GB, the most that one upload can carry"
            return 1
        fi
        for try in 1 2 3; do
            if send "$own/output.tar.gz" "$put_output"; then break; fi
            [ "$try" != 3 ] || return 1
            sleep "$try"
        done
    fi
    [ -z "${PORTAL_OUTPUT_ARCHIVE:-}" ] || mv "$own/output.tar.gz" "$PORTAL_OUTPUT_ARCHIVE"
}

pack() { # archive; sorted, so that equal files give an equal list
    if tar --version 2>/dev/null | grep -q GNU && has gzip; then
        tar --sort=name --owner=0 --group=0 --numeric-owner -I 'gzip -n' -cf "$1" -C "$PORTAL_OUTPUT_DIR" .
    elif has python3; then
        python3 -I -c 'import sys, tarfile
with tarfile.open(sys.argv[1], "w:gz") as archive: archive.add(sys.argv[2], ".")' "$1" "$PORTAL_OUTPUT_DIR"
    elif has tar; then
        (cd "$PORTAL_OUTPUT_DIR" && find . ! -type d | LC_ALL=C sort | tar -czf "$1" -T -)
    else
        printf 'portal: %s\n' "this image has neither tar nor python3: the output cannot be packed"
        return 1
    fi
}

save_log_while_it_grows() {
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    trap '' INT
    saved=0 pause=1
    while :; do
        sleep "$pause" &
        nap=$!
        wait "$nap"
        [ -e "$own/running" ] || exit 0 # a signal sent in the first moment may be lost
        # Somebody may be watching. A large log is sent less often: it goes as a whole.
        if [ "$saved" -gt 262144 ]; then pause=$((${log_every:-10} + saved / 1048576)); else pause=2; fi
        size=$(size_of "$own/log")
        [ "$size" != "$saved" ] || continue
        cp "$own/log" "$own/log.part" && (upload "$own/log.part" "$put_log") && saved=$size
    done
}

# What takes time runs in the background, because a shell hears a stop only while it waits.
fetch() { # url file; goes on where the file ends
    [ -z "$stopped" ] || return 1
    (trap - TERM INT; download "$1" "$2") </dev/null &
    child=$!
    await
    fetched=$?
    [ "$web$fetched" != curl33 ] || : >"$2" # the server cannot go on in the middle: from the beginning then
    return "$fetched"
}

ask() { # file url; what came back is in $own/answer
    (trap - TERM INT; post "$1" "$2") </dev/null >"$own/answer" 2>&1 &
    child=$!
    await
}

rest() { # seconds
    [ -z "$stopped" ] || return 0
    (trap - TERM INT; exec sleep "$1") </dev/null >/dev/null 2>&1 &
    child=$!
    await
}

send() { # file url
    (upload "$1" "$2") </dev/null &
    child=$!
    await
}

await() {
    while :; do
        wait "$child" 2>/dev/null # some shells print "Killed" here
        result=$?
        [ "$result" -gt 128 ] && kill -0 "$child" 2>/dev/null || break # a signal ended the wait, not the child
        [ -z "$group" ] || kill_after_grace
    done
    child=''
    return "$result"
}

# Not in the trap: dash runs it inside the redirection of wait, and what starts there keeps the log's pipe open.
kill_after_grace() {
    [ -z "$killer" ] || return 0
    (sleep "${PORTAL_STOP_GRACE_S:-5}"; [ ! -e "$own/running.command" ] || kill -KILL "-$group" || kill -KILL "$group") \
        >/dev/null 2>&1 3>&- &
    killer=$!
}

# Addresses are secrets. They go by a private file or the environment, because everyone on a machine can read arguments;
# only wget knows no such way, and is taken last.
download() { # url file; goes on where the file ends; ends the shell
    case $web in
        curl)
            printf 'url = "%s"\n' "$1" >"$own/request.get"
            exec curl -q -gfsS --proto =http,https --connect-timeout 20 --speed-limit 1 --speed-time 60 \
                -C - -o "$2" --config "$own/request.get"
            ;;
        python3)
            PORTAL_URL=$1 exec python3 -I -c '
import os, sys, urllib.request
try:
    with open(sys.argv[1], "ab") as file:
        had = file.tell()
        request = urllib.request.Request(os.environ["PORTAL_URL"], headers={"Range": "bytes=%d-" % had} if had else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            if had and answer.status != 206: file.truncate(0)
            while piece := answer.read(1 << 20): file.write(piece)
            if answer.length: raise EOFError
except Exception as error:
    sys.exit("python3: %s %s" % (type(error).__name__, getattr(error, "code", "")))' "$2"
            ;;
        wget) exec wget -q -c -t 1 -T 60 -O "$2" "$1" 2>/dev/null ;;
    esac
}

upload() { # file url; ends the shell
    case $web in
        curl)
            request=$own/request.${1##*/}
            printf 'url = "%s"\n' "$2" >"$request"
            exec curl -q -gfsS --proto =http,https --connect-timeout 20 --speed-limit 1 --speed-time 60 \
                -H 'Expect:' -T "$1" -o /dev/null --config "$request"
            ;;
        python3)
            PORTAL_URL=$2 exec python3 -I -c '
import os, sys, urllib.request
try:
    with open(sys.argv[1], "rb") as file:
        length = str(os.fstat(file.fileno()).st_size)
        request = urllib.request.Request(os.environ["PORTAL_URL"], file, {"Content-Length": length}, method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
except Exception as error:
    sys.exit("python3: %s %s" % (type(error).__name__, getattr(error, "code", "")))' "$1"
            ;;
        wget) exec wget -q -T 60 -O /dev/null --method=PUT --body-file="$1" "$2" 2>/dev/null ;;
    esac
}

post() { # file url; prints the answer's status behind "HTTP/1.1"; ends the shell
    case $web in
        curl)
            printf 'url = "%s"\n' "$2" >"$own/request.post"
            exec curl -q -gs --proto =http,https --connect-timeout 10 --max-time 20 \
                --data-binary "@$1" -o /dev/null -w 'HTTP/1.1 %{http_code}\n' --config "$own/request.post"
            ;;
        python3)
            PORTAL_URL=$2 exec python3 -I -c '
import os, sys, urllib.error, urllib.request
with open(sys.argv[1], "rb") as file: body = file.read()
try: status = urllib.request.urlopen(os.environ["PORTAL_URL"], body, timeout=20).status
except urllib.error.HTTPError as error: status = error.code
print("HTTP/1.1", status)' "$1"
            ;;
        wget) exec wget -q -S -t 1 -T 20 --max-redirect=0 -O /dev/null --post-file="$1" "$2" ;;
    esac
}

status_in() { # file: the last status in it
    status=''
    while read -r line; do
        # busybox's wget has words before it; a server may call itself BaseHTTP/0.6.
        case " $line" in *" HTTP/"[0-9]*" "*) status=${line##*HTTP/}; status=${status#* } ;; esac
    done <"$1"
    printf '%s' "${status%% *}"
}

sha256_of() { # file
    if has sha256sum; then sum=$(sha256sum <"$1"); printf '%s' "${sum%% *}"
    elif has openssl; then sum=$(openssl dgst -sha256 <"$1"); printf '%s' "${sum##* }"
    else python3 -I -c '
import hashlib, sys
digest = hashlib.sha256()
while piece := sys.stdin.buffer.read(1 << 20): digest.update(piece)
print(digest.hexdigest())' <"$1"
    fi
}

size_of() { echo $(($(wc -c <"$1"))); }

decode() {
    case $decoder in
        base64) base64 -d ;;
        openssl) openssl base64 -d -A ;;
        python3) python3 -I -c 'import base64, sys; sys.stdout.buffer.write(base64.b64decode(sys.stdin.read()))' ;;
    esac
}

record() { # kind: the value of its first record
    while IFS=$tab read -r kind value <&9; do
        if [ "$kind" = "$1" ]; then printf '%s' "$value"; break; fi
    done 9<"$own/manifest"
}

has() { command -v "$1" >/dev/null 2>&1; }

die() { # exit_code sentence
    printf 'portal: %s\n' "$2"
    finish "$1"
}

tab=$(printf '\t')
web='' pushed='' put_output='' put_log='' log_every='' own=/nonexistent
code=0 stopped='' child='' group='' killer='' tee_pid='' saver=''
main
