"""The photographs of the benchmark: made by code, the same for everyone."""

from dataclasses import dataclass

from imaging.samples import photograph

WEB_SIZES = ((640, 480), (800, 600), (1024, 768), (480, 640), (768, 1024))
CAMERA_SIZE = (4000, 3000)


@dataclass(frozen=True)
class Photographs:
    """JPEG bytes: `web` of 640 x 480 to 1024 x 768, `camera` of 12 megapixels."""

    web: list[bytes]
    camera: list[bytes]

    @property
    def all(self) -> list[bytes]:
        """Both, the large ones spread among the small."""
        mixed = list(self.web)
        step = max(1, len(self.web) // max(1, len(self.camera)))
        for number, one in enumerate(self.camera):
            mixed.insert(number * (step + 1), one)
        return mixed

    def sample(self, share: int) -> "Photographs":
        """Every `share`-th of both."""
        return Photographs(self.web[::share], self.camera[::share])


def make_photographs(web: int = 200, camera: int = 20) -> Photographs:
    """Draw them; about 15 s for the usual number."""
    return Photographs(
        [photograph(*WEB_SIZES[seed % len(WEB_SIZES)], seed) for seed in range(web)],
        [photograph(*CAMERA_SIZE, 10_000 + seed) for seed in range(camera)],
    )
