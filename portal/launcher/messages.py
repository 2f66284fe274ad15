"""Every sentence the launcher shows, in English and Japanese. Standard library only."""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

# name: (English, Japanese). The English ones are plain ASCII: they are what a bare terminal gets.
SENTENCES: dict[str, tuple[str, str]] = {
    "usage": (
        "The portal: python3 manage.py start (runs it)   python3 manage.py test [pytest arguments] (runs all checks)\n"
        "Any other command is Django's:",
        "ポータルのコマンド: python3 manage.py start(起動)   python3 manage.py test [pytest の引数](全テストの実行)\n"
        "そのほかは Django のコマンドです:",
    ),
    "no_such_command": (
        "There is no command {command}. Did you mean: python3 manage.py {nearest}",
        "{command} というコマンドはありません。もしかして: python3 manage.py {nearest}",
    ),
    "start_takes_nothing": (
        "start takes no arguments; it is set by environment variables (README.md has the table), for example: "
        "PORT=8001 python3 manage.py start",
        "start に引数はありません。設定は環境変数で指定してください(一覧は README.md)。"
        "例: PORT=8001 python3 manage.py start",
    ),
    # --- making .venv
    "installing": (
        "Installing the locked packages of {lock} into .venv (about 850 MB; usually under a minute, once) ...",
        "{lock} で固定したパッケージを .venv にインストールしています(約850 MB。通常1分以内、初回のみ)…",
    ),
    "installed": ("Packages installed in {seconds} s.", "パッケージのインストールが完了しました({seconds}秒)。"),
    "install_interrupted": (
        "The last installation was interrupted: making .venv anew.",
        "前回のインストールが途中で止まっていたため、.venv を作り直します。",
    ),
    "not_installed": (
        "The portal's packages are not installed. python3 manage.py start installs them; README.md shows how to do it "
        "by hand.",
        "ポータルのパッケージがインストールされていません。python3 manage.py start を実行するとインストールされます。"
        "手動でインストールする手順は README.md を参照してください。",
    ),
    "not_our_venv": (
        "{path} holds no complete installation, and it was not made by manage.py, which therefore leaves it alone. "
        "Delete it and run the same command again.",
        "{path} のインストールが完了していません。manage.py が作成したものではないため、自動では削除しません。"
        "削除してから、同じコマンドをもう一度実行してください。",
    ),
    "venv_cannot_run": (
        "The Python in {path} cannot be run ({problem}). Delete that folder and run the same command again.",
        "{path} の Python を実行できません({problem})。"
        "このフォルダーを削除して、同じコマンドをもう一度実行してください。",
    ),
    "no_venv_module": (
        "This Python cannot make virtual environments. Run: sudo apt-get install python3-venv"
        "  Then run the same command again.",
        "この Python では仮想環境を作成できません。sudo apt-get install python3-venv を実行してから、"
        "同じコマンドをもう一度実行してください。",
    ),
    "install_failed": (
        "The packages could not be installed ({step}). Check the network connection and run the same command "
        "again.\n{lines}",
        "パッケージをインストールできませんでした({step})。"
        "ネットワーク接続を確認して、同じコマンドをもう一度実行してください。\n{lines}",
    ),
    "module_missing": (
        "The installation in .venv is broken (module {module} is missing). "
        "Delete the folder .venv and run the same command again.",
        ".venv のインストールが壊れています(モジュール {module} が見つかりません)。"
        ".venv フォルダーを削除して、同じコマンドをもう一度実行してください。",
    ),
    "developers_module_missing": (
        "This command is for developers and needs their packages ({module} and others). Run once: "
        "python3 manage.py test tests/core   It installs them and runs a few tests. Then run the same command again.",
        "これは開発者向けのコマンドで、開発用のパッケージ({module} など)が必要です。"
        "python3 manage.py test tests/core を一度実行してインストールしてから、"
        "同じコマンドをもう一度実行してください。",
    ),
    "setting_wrong": (
        "A setting is missing or wrong: {problem}",
        "設定が不足しているか、正しくありません: {problem}",
    ),
    # --- the machine
    "folder_not_writable": (
        "The folder {path} is not writable. Give this account the right to write there, "
        "or set PORTAL_DATA to another folder.",
        "フォルダー {path} に書き込めません。書き込み権限を付与するか、"
        "環境変数 PORTAL_DATA で別のフォルダーを指定してください。",
    ),
    "in_the_way": (
        "{path} is not what the portal needs there (a folder where it needs a file, or the other way round). "
        "Remove it, or set PORTAL_DATA to another folder.",
        "{path} がポータルの使用する形式(フォルダーまたはファイル)と異なります。"
        "削除するか、環境変数 PORTAL_DATA で別のフォルダーを指定してください。",
    ),
    "machine_refuses": (
        "The portal cannot go on ({problem}). Correct this and run the same command again.",
        "処理を続行できません({problem})。原因を取り除いて、同じコマンドをもう一度実行してください。",
    ),
    "code_folder_not_writable": (
        "The folder {path} is not writable, so .venv cannot be made in it. "
        "Copy the portal to a folder of your own and start it there.",
        "フォルダー {path} に書き込めないため、.venv を作成できません。"
        "書き込めるフォルダーにポータルをコピーして実行してください。",
    ),
    "folder_not_ours": (
        "The folder {path} belongs to another account. Remove it, or set TMPDIR to a folder of your own.",
        "フォルダー {path} は別のアカウントのものです。削除するか、"
        "環境変数 TMPDIR で自分のフォルダーを指定してください。",
    ),
    "secrets_unreadable": (
        "The file {path} cannot be read, and it may hold the only copy of keys that sealed data. "
        "Put it back from a backup, or delete it if its data is not needed.",
        "ファイル {path} を読み取れません。データを暗号化した鍵がこのファイルにしかない可能性があります。"
        "バックアップから戻してください。データが不要な場合は削除してください。",
    ),
    "disk_full": (
        "The disk that holds {path} is full. Free some space (the portal needs about 2 GB) "
        "and run the same command again.",
        "{path} のディスクに空きがありません。空き容量(目安は約2 GB)を確保して、"
        "同じコマンドをもう一度実行してください。",
    ),
    "port_needs_root": (
        "This account may not use port {port}: ports below 1024 are root's. Choose another, for example: "
        "PORT=8000 python3 manage.py start",
        "このアカウントではポート {port} を使用できません(1024未満のポートには root 権限が必要です)。"
        "別のポートを指定してください。例: PORT=8000 python3 manage.py start",
    ),
    "port_taken": (
        "Port {port} is taken by another program. Stop that program, or choose another port: "
        "PORT={other} python3 manage.py start",
        "ポート {port} はほかのプログラムが使用しています。そのプログラムを終了するか、"
        "別のポートを指定してください: PORT={other} python3 manage.py start",
    ),
    "not_a_number": (
        "{name} must be a whole number between {least} and {most}, not '{value}'.",
        "{name} には {least} から {most} までの整数を指定してください(現在の値: {value})。",
    ),
    "already_running": (
        "The portal is already running (process {pid}): {url}  Stop it there with Ctrl-C.",
        "ポータルはすでに起動しています(プロセス {pid}): {url}  停止するには、起動した画面で Ctrl-C を押してください。",
    ),
    # --- settings
    "production_needs": (
        "PORTAL_MODE is production, where these must be set as well: {names}. "
        "README.md shows how to run the portal there.",
        "PORTAL_MODE が production の場合は、次の環境変数も設定してください: {names}。"
        "手順は README.md を参照してください。",
    ),
    "no_such_mode": (
        "PORTAL_MODE must be demo, test or production, not '{mode}'.",
        "PORTAL_MODE には demo、test、production のいずれかを指定してください(現在の値: {mode})。",
    ),
    "server_unusable": (
        "The server in {name} cannot be used: {problem}. Start it or correct {name}; "
        "without {name} the portal runs a server of its own (not in production).",
        "{name} のサーバーを利用できません({problem})。サーバーを起動するか、{name} を修正してください。"
        "{name} を指定しない場合は、ポータルが自分のサーバーを起動します(本番環境を除く)。",
    ),
    "s3_needs_keys": (
        "S3_ENDPOINT is set, so {names} must be set as well.",
        "S3_ENDPOINT を設定した場合は、{names} も設定してください。",
    ),
    # --- starting
    "starting": ("Starting {names} ...", "{names} を起動しています…"),
    "ready": ("{name} is ready.", "{name}: 準備完了"),
    "preparing": (
        "Preparing the database, the static files and the catalog ...",
        "データベース、静的ファイル、カタログを準備しています…",
    ),
    "preparing_demo": (
        "Preparing the database, the static files and the demo data ...",
        "データベース、静的ファイル、デモ用データを準備しています…",
    ),
    "prepared": ("All is prepared.", "準備が完了しました。"),
    "prepare_failed": (
        "The portal could not be prepared. The whole log: {log}  Its last lines:\n{lines}",
        "起動の準備に失敗しました。ログの全文: {log}  最後の部分:\n{lines}",
    ),
    "initdb_failed": (
        "The database could not be created. PostgreSQL says:\n{lines}",
        "データベースを作成できませんでした。PostgreSQL のメッセージ:\n{lines}",
    ),
    "leftover": (
        "Ended what a killed start had left running: {names}.",
        "強制終了された前回の起動で残っていたプロセスを終了しました: {names}",
    ),
    "program_broken": (
        "{name} cannot be run ({path}: {problem}). The installation in .venv is broken: "
        "delete the folder .venv and run the same command again.",
        "{name} を実行できません({path}: {problem})。.venv のインストールが壊れています。"
        ".venv フォルダーを削除して、同じコマンドをもう一度実行してください。",
    ),
    "child_not_started": (
        "{name} cannot be started ({path}: {problem}). Correct this and run the same command again.",
        "{name} を起動できません({path}: {problem})。原因を取り除いて、同じコマンドをもう一度実行してください。",
    ),
    "child_ended": (
        "{name} ended while starting (status {status}). The whole log: {log}  Its last lines:\n{lines}",
        "{name} が起動中に終了しました(終了コード {status})。ログの全文: {log}  最後の部分:\n{lines}",
    ),
    "child_not_ready": (
        "{name} did not get ready within {seconds} s. The whole log: {log}  Its last lines:\n{lines}",
        "{name} が{seconds}秒以内に準備できませんでした。ログの全文: {log}  最後の部分:\n{lines}",
    ),
    # --- running
    "address": (
        "The portal is running after {seconds} s:  {url}",
        "ポータルが起動しました({seconds}秒):  {url}",
    ),
    "behind_proxy": (
        "The web server listens on 127.0.0.1:{port}; the reverse proxy in front of it ends TLS.",
        "Web サーバーは 127.0.0.1:{port} で待機しています。TLS は前段のリバースプロキシで終端してください。",
    ),
    "logins": ("Demo logins:", "デモ用アカウント:"),
    "mail": ("Mail that the portal sends: {url}", "ポータルが送信したメール: {url}"),
    "how_to_stop": ("Data and logs: {data}   Stop: Ctrl-C", "データとログ: {data}   停止: Ctrl-C"),
    "restarting": (
        "{name} ended (status {status}); starting it again.",
        "{name} が終了しました(終了コード {status})。再起動します。",
    ),
    "keeps_ending": (
        "{name} ended {times} times within {seconds} s, so the portal stops. "
        "The whole log: {log}  Its last lines:\n{lines}",
        "{name} が{seconds}秒間に{times}回終了したため、ポータルを停止します。ログの全文: {log}  最後の部分:\n{lines}",
    ),
    "stopping": ("Stopping ...", "停止しています…"),
    "stopped": ("Stopped. Your data stays in {data}", "停止しました。データは {data} に残ります。"),
    # --- testing
    "installing_debian": (
        "Installing Debian packages for the tests: {packages} ...",
        "テストに必要な Debian パッケージをインストールしています: {packages} …",
    ),
    "debian_failed": (
        "The Debian packages could not be installed: {packages}.\n{lines}",
        "Debian パッケージをインストールできませんでした: {packages}\n{lines}",
    ),
    "cannot_test": (
        "{package} is missing and cannot be installed here: {tests} will not run. "
        "Ask an administrator for: apt-get install {package}",
        "{package} がなく、ここではインストールできません。{tests}は実行されません。"
        "管理者に次のコマンドの実行を依頼してください: apt-get install {package}",
    ),
    "tests_browser": ("the journeys in the browser", "ブラウザーでの操作テスト"),
    "tests_fonts": ("the screenshots with Japanese text", "日本語表示のスクリーンショット"),
    "tests_documents": ("the tests of invoices as PDF", "請求書 PDF のテスト"),
    "tests_slurm": ("the tests with a real Slurm", "実物の Slurm によるテスト"),
    "tests_rabbitmq": ("the tests with RabbitMQ", "RabbitMQ によるテスト"),
    "tests_sandbox": ("the tests of the jobs' sandbox", "ジョブのサンドボックスのテスト"),
    "check_passed": ("{name}: passed in {seconds} s.", "{name}: 合格({seconds}秒)"),
    "check_failed": ("{name}: FAILED\n{lines}", "{name}: 不合格\n{lines}"),
    "lock_has_address": (
        "{file}, line {line}: an address of a registry must not be committed",
        "{file} の{line}行目: レジストリのアドレスをコミットしないでください",
    ),
}


def sentence(message: str, **values: object) -> str:
    return SENTENCES[message][_wants_japanese()].format(**values)


def say(message: str, **values: object) -> None:
    """One line of what is going on, with the seconds since the command began."""
    show(f"[{seconds_so_far():5.1f} s] {sentence(message, **values)}")


def show(text: str, *, to: TextIO | None = None) -> None:
    """Print at once, whatever the terminal can display."""
    stream = to or sys.stdout
    encoding = stream.encoding or "ascii"
    with suppress(BrokenPipeError):  # nobody reads any more, which must not end the portal
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def seconds_so_far() -> float:
    """Since this process began. That survives going on in .venv, so the first start counts its installation too."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):  # not Linux
        return time.monotonic() - _IMPORTED


_IMPORTED = time.monotonic()


def _wants_japanese() -> bool:
    # The order in which every program looks for the language of its messages.
    language = next((v for n in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := os.environ.get(n))), "")
    if not language.startswith("ja"):
        return False
    try:
        "日本語".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
