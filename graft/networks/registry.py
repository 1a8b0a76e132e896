"""Networks by name; adding one is a file in this folder and a line in `NETWORKS`."""

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from graft.networks.article import Article
from graft.networks.base import Architecture
from graft.networks.resnet import ResNet
from graft.networks.small_cnn import SmallCNN

NETWORKS: dict[str, type[Architecture]] = {
    "article": Article,
    "resnet": ResNet,
    "small_cnn": SmallCNN,
}

if TYPE_CHECKING:
    AnyNetwork = Architecture
else:
    AnyNetwork = Annotated[Union[tuple(NETWORKS.values())], Field(discriminator="name")]  # noqa: UP007
