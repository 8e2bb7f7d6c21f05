"""The files of a container, in asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from estiva.sdk.aio.bridge import Around, copied, later
from estiva.sdk.aio.loop import Stream
from estiva.sdk.objects import files as plain

if TYPE_CHECKING:
    import builtins

    from estiva.sdk.objects.files import Word

Plain = plain.Files


class Files(Around[Plain]):
    """The files of a container: see estiva.Container.files.

    text = await box.files.read_text("/etc/motd")
    async for folder, folders, names in box.files.walk("/etc"): ...
    """

    read = copied(Plain.read)
    read_text = copied(Plain.read_text)
    write = copied(Plain.write)
    list = later(Plain.list)
    stat = later(Plain.stat)
    exists = later(Plain.exists)
    mkdir = later(Plain.mkdir)
    remove = copied(Plain.remove)
    upload = copied(Plain.upload)
    download = copied(Plain.download)

    def walk(self, top: Word = "/") -> Stream[tuple[str, builtins.list[str], builtins.list[str]]]:
        """As os.walk: (folder, names of folders, names of files) of each, from the top down."""
        return Stream(lambda: plain.walking(self._plain, top))
