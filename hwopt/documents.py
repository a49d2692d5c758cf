"""What hwopt writes for others to read: typed JSON files with the version of their schema."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError

from hwopt.errors import HwoptError
from hwopt.files import read_json, write_json


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


#: A figure, or None where none is known: what is no number is not known.
Figure = Annotated[float | None, BeforeValidator(_known)]


class Part(BaseModel):
    """Part of a document: unknown entries are refused, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return self.model_dump(mode="json")


class Document(Part):
    """A file.

    Class attributes:
        version: of its schema.
        made_by: the command that makes it again.

    Attributes:
        schema_version: of the file.
    """

    version: ClassVar[int]
    made_by: ClassVar[str]

    schema_version: int
    _folder: Path | None = PrivateAttr(default=None)

    def in_folder(self, folder: Path) -> Self:
        """Return this document, which lies in a folder with what it speaks of."""
        self._folder = folder
        return self

    @property
    def folder(self) -> Path:
        """The folder that it lies in.

        Raises:
            HwoptError: if it is of none.
        """
        if self._folder is None:
            raise HwoptError(f"these results lie in no folder: run `{self.made_by}`, or read them")
        return self._folder

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            HwoptError: if it is missing, damaged, or of another version.
        """
        document = read_json(path)
        found = document.get("schema_version", 0) if isinstance(document, dict) else None
        if found != cls.version:
            said = "is no document of hwopt" if found is None else f"is of schema version {found}"
            raise HwoptError(
                f"{path} {said}, and this hwopt reads version {cls.version}: run `{cls.made_by}` "
                "again"
            )
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise HwoptError(
                f"{path} is damaged: {where}: {first['msg']}: run `{cls.made_by}` again"
            ) from None


class TargetFacts(Part):
    """What figures were measured on."""

    name: str
    cpu: str
    isa: str
