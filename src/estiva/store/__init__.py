"""Everything that outlives a command: content, images, layers, snapshots, volumes and the database over them.

`Store` is the one object that other packages hold. Its parts are imported and made on first use, because a
run needs three of them and an inspect needs one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from estiva.files import Lock
    from estiva.paths import Paths
    from estiva.store.content import Content
    from estiva.store.database import Database
    from estiva.store.images import Images
    from estiva.store.layers.layers import Layers
    from estiva.store.snapshots import Snapshots
    from estiva.store.volumes import Volumes


class Store:
    """The store below `paths` (which are made if absent)."""

    def __init__(self, paths: Paths, db: Database | None = None) -> None:
        paths.prepare()
        self.paths = paths
        self._db = db
        self._content: Content | None = None
        self._layers: Layers | None = None
        self._snapshots: Snapshots | None = None
        self._images: Images | None = None
        self._volumes: Volumes | None = None

    @property
    def db(self) -> Database:
        if self._db is None:
            from estiva.store.database import Database

            self._db = Database(self.paths.database)
        return self._db

    @property
    def content(self) -> Content:
        if self._content is None:
            from estiva.store.content import Content

            self._content = Content(self.paths, self.db)
        return self._content

    @property
    def layers(self) -> Layers:
        if self._layers is None:
            from estiva.store.layers.layers import Layers

            self._layers = Layers(self.paths, self.db, self.content)
        return self._layers

    @property
    def snapshots(self) -> Snapshots:
        if self._snapshots is None:
            from estiva.store.snapshots import Snapshots

            self._snapshots = Snapshots(self.paths, self.layers)
        return self._snapshots

    @property
    def images(self) -> Images:
        if self._images is None:
            from estiva.store.images import Images

            self._images = Images(self.db, self.content)
        return self._images

    @property
    def volumes(self) -> Volumes:
        if self._volumes is None:
            from estiva.store.volumes import Volumes

            self._volumes = Volumes(self.paths, self.db)
        return self._volumes

    def writing(self) -> Lock:
        """A with-block that pull, build, load, commit and import hold while they add content.

        What they have stored but not yet made an image of is safe from `gc.reclaim` meanwhile. Shared: any
        number of them work at once; it waits only while a reclaim deletes. What killed ones left half done
        goes first, gigabytes perhaps, but for downloads that a pull can go on from.
        """
        from estiva.files import Lock, sweep

        sweep(self.paths.ingest, lambda name: not name.endswith(".part"))
        return Lock(self.paths.root + "/writing.lock", shared=True)

    def mended(self) -> list[str]:
        """Of layers: see Engine.mended."""
        if self._layers is None:
            return []
        lines, self._layers.mended = self._layers.mended, []
        return lines

    def close(self) -> None:
        """Close this thread's database connection."""
        if self._db is not None:
            self._db.close()
