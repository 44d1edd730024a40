"""The folders of uploads of several servers, made and removed at the same time."""

import threading
from pathlib import Path

from edge.serve.uploads import PREFIX, Uploads


def test_servers_that_start_together_keep_their_folders(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def start_and_end() -> None:
        try:
            for _ in range(40):
                with Uploads(tmp_path) as uploads:
                    assert uploads.folder.is_dir()
        except BaseException as error:
            failures.append(error)

    servers = [threading.Thread(target=start_and_end) for _ in range(8)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert failures == []
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


def test_folder_of_a_killed_server_is_removed(tmp_path: Path) -> None:
    abandoned = tmp_path / f"{PREFIX}abandoned"
    abandoned.mkdir()
    (abandoned / "image").write_bytes(b"x")
    with Uploads(tmp_path) as running, Uploads(tmp_path) as other:
        assert not abandoned.exists()
        assert running.folder.is_dir()
        assert other.folder.is_dir()
