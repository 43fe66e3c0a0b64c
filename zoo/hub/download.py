"""Getting released files: sources in order, resumed transfers, checked bytes, a cache that processes can share.

A file comes from the package, a local directory, http(s) or the Hugging Face Hub, in this order. Whatever the source, only
bytes of the size and sha256 that the card says are ever used or kept under the file's name; an unfinished transfer lies beside
it as ``.<name>.part`` and is continued by the next attempt, from whichever source.
"""
import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlparse

from .cards import WEIGHTS, Card, is_plain_name

__all__ = ['DownloadError', 'cache_folder', 'fetch', 'is_pickle', 'on_disk', 'sha256_of']

#: seconds without a byte after which a connection counts as broken
TIMEOUT = 30.0
#: attempts in a row that bring no byte, before the next source; the wait before the second, doubled each time, in seconds
ATTEMPTS, PAUSE = 4, 1.0
#: attempts at all, for a server that breaks off again and again
MAX_ATTEMPTS = 200
BLOCK = 1 << 18
PICKLES = ('.pth', '.pt', '.th', '.bin', '.ckpt', '.pkl', '.pickle', '.tar')
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int, int], None]


class DownloadError(ValueError):
    """A file that could not be had; the message names each source and why it failed, and what to do."""


class SourceError(Exception):
    """One source failed; the next is tried."""


class DiskFullError(DownloadError):
    """No room for the file: no other source can help."""


def cache_folder() -> Path:
    """Where downloaded checkpoints are kept: ``$ZOO_CACHE/checkpoints``, or below ``~/.cache/distillation_zoo``."""
    return Path(os.environ.get('ZOO_CACHE') or Path.home() / '.cache' / 'distillation_zoo') / 'checkpoints'


def sha256_of(path: str | os.PathLike) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


_known_good: dict[Path, tuple] = {}


def _is_right(path: Path, entry: dict) -> bool:
    """Whether a file has the card's size and sha256; read once a process for each state of the file."""
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != entry['bytes']:
        return False
    state = (stat.st_mtime_ns, stat.st_size, stat.st_ino, entry['sha256'])
    if _known_good.get(path) != state:
        if sha256_of(path) != entry['sha256']:
            return False
        _known_good[path] = state
    return True


def is_pickle(path: str | os.PathLike) -> bool:
    """Whether a file's first bytes are those of a pickle, or of the zip that ``torch.save`` writes around one."""
    with open(path, 'rb') as file:
        head = file.read(4)
    return head[:2] == b'PK' or (head[:1] == b'\x80' and head[1:2] in (b'\x02', b'\x03', b'\x04', b'\x05'))


def refuse_pickle(name: str, trust_pickle: bool) -> None:
    """Raise if a file's name says that it is a pickle, unless it is trusted."""
    if not trust_pickle and Path(name).suffix.lower() in PICKLES:
        raise DownloadError(f'{name} is a pickle, which can run code when it is opened: take a .safetensors file, or pass '
                            '--trust-pickle (trust_pickle=True) if you trust its author.')


def is_offline(offline: bool | None = None) -> bool:
    """Whether the network must be left alone: ``offline``, else ``ZOO_OFFLINE`` or ``HF_HUB_OFFLINE``."""
    if offline is not None:
        return offline
    return any(os.environ.get(name, '').lower() in ('1', 'true', 'yes', 'on') for name in ('ZOO_OFFLINE', 'HF_HUB_OFFLINE'))


def mirrors_of(mirrors: Sequence[str] = ()) -> list[str]:
    """The given mirrors, then those of ``ZOO_MIRROR`` (separated by blanks)."""
    return [*mirrors, *os.environ.get('ZOO_MIRROR', '').split()]


# ---- sources

@dataclass(frozen=True)
class Source:
    """Where a file may come from: ``kind`` is ``local``, ``http`` or ``hf``; ``where`` a path or an address."""
    kind: str
    where: str


def sources(card: Card, entry: dict, mirrors: Sequence[str] = ()) -> Iterator[Source]:
    """All sources of a card's file beside the package itself, in the order in which they are tried.

    Args:
        entry: of ``zoo.files``.
        mirrors: folders, ``http(s)://`` addresses of folders, or ``hf://owner/repository[@revision]``.

    Raises:
        DownloadError: for a file name that is a path.
    """
    name = entry['name']
    if not is_plain_name(name):
        raise DownloadError(f'Card {card.name}: the file name {name!r} is a path, not a name: refused.')
    mirrors = mirrors_of(mirrors)
    remote = [m for m in mirrors if '://' in m]
    yield Source('local', str(card.path.parent / name))
    for mirror in mirrors:
        if mirror not in remote:
            yield Source('local', str(Path(mirror).expanduser() / name))
    for mirror in remote:
        if not mirror.startswith(('http://', 'https://', 'hf://')):
            raise DownloadError(f'The mirror {mirror} is none of: a folder, an http(s):// address, hf://owner/repository.')
    addresses = [f'{mirror.rstrip("/")}/{quote(name)}' for mirror in remote] + list(entry['urls'])
    for kind in ('http', 'hf'):
        for address in dict.fromkeys(addresses):
            if (address.startswith('hf://')) == (kind == 'hf'):
                yield Source(kind, address)


def on_disk(card: Card, entry: dict | None = None) -> Path | None:
    """The card's file if it is on this machine (package, by the card, or cache) and right, else None."""
    entry = entry or card.files[0]
    if not is_plain_name(entry['name']):
        return None
    places = [WEIGHTS / entry['name']] if 'embedded' in entry else []
    places += [card.path.parent / entry['name'], cache_folder() / entry['sha256'][:16] / entry['name']]
    return next((path for path in places if _is_right(path, entry)), None)


def fetch(card: Card, entry: dict | None = None, *, dest: str | os.PathLike | None = None, mirrors: Sequence[str] = (),
          offline: bool | None = None, trust_pickle: bool = False, progress: Progress | None = None) -> Path:
    """A released file on this machine, its bytes as the card says; downloaded where it is not here yet.

    Args:
        card: of :func:`zoo.hub.card`.
        entry: of ``card.files``; by default the first, the checkpoint.
        dest: a folder to put the file into; by default it stays where it is, or goes into the cache.
        mirrors: folders or addresses that are tried before the card's own addresses, each with the file's name added.
        offline: True touches no network; None asks the environment (``ZOO_OFFLINE``, ``HF_HUB_OFFLINE``).
        trust_pickle: allow files that can run code when they are opened.
        progress: called with (bytes so far, bytes in all).

    Raises:
        DownloadError: where no source had it, naming each and why.
    """
    entry = card.files[0] if entry is None else entry
    name = entry['name']
    refuse_pickle(name, trust_pickle)
    tried: list[str] = []
    candidates = list(sources(card, entry, mirrors))
    if 'embedded' in entry:
        candidates.insert(0, Source('local', str(WEIGHTS / name)))
    if dest is None:
        for source in candidates:
            if source.kind == 'local' and _is_right(Path(source.where), entry):
                return _checked(Path(source.where), trust_pickle)
    folder = cache_folder() / entry['sha256'][:16] if dest is None else Path(dest).expanduser()
    target = folder / name
    from filelock import FileLock
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f'.{name}.lock'):
            if _is_right(target, entry):
                return _checked(target, trust_pickle)
            if dest is None:
                target.unlink(missing_ok=True)
            cached = cache_folder() / entry['sha256'][:16] / name
            if dest is not None:
                candidates.insert(0, Source('local', str(cached)))
            part = folder / f'.{name}.part'
            for source in candidates:
                if source.kind != 'local' and is_offline(offline):
                    tried.append(f'{source.where}: not asked (offline)')
                    continue
                try:
                    _take(source, part, entry, progress)
                except SourceError as error:
                    tried.append(f'{source.where}: {error}')
                    continue
                os.replace(part, target)
                return _checked(target, trust_pickle)
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(f'{name} cannot be written to {folder} ({error}): choose another folder with --dest, or another '
                            'cache with the environment variable ZOO_CACHE.') from None
    network = any(source.kind != 'local' for source in candidates)
    advice = 'Go online or copy the file there.' if network and is_offline(offline) else \
        'Download it by hand and give its folder with --mirror.' if network else \
        'Its card names no address: give a folder or an address with --mirror, or install the zoo again.'
    raise DownloadError(f'{name} could not be had. {"; ".join(tried)}. {advice}')


def _checked(path: Path, trust_pickle: bool) -> Path:
    """The path, unless what lies there is a pickle under another name."""
    if not trust_pickle and is_pickle(path):
        raise DownloadError(f'{path} is a pickle although its name does not say so: refused, for it can run code when it is '
                            'opened (--trust-pickle if you trust its author).')
    return path


def _take(source: Source, part: Path, entry: dict, progress: Progress | None) -> None:
    """Bring the file from one source to ``part``, complete and right.

    Raises:
        SourceError: if this source cannot give it; no wrong byte is left behind.
    """
    size = entry['bytes']
    _room(part, size)
    if source.kind == 'local':
        path = Path(source.where)
        if not path.is_file():
            raise SourceError('not there')
        if not _is_right(path, entry):
            raise SourceError('has another size or sha256 than the card says')
        with path.open('rb') as file:
            _write_all(iter(lambda: file.read(BLOCK), b''), part, 'wb')
        return
    resumed = part.is_file() and part.stat().st_size > 0
    for again in (False, True):
        if source.kind == 'http':
            transfer(source.where, part, size, progress=progress)
        else:
            _from_hugging_face(source.where, part)
        if part.stat().st_size == size and sha256_of(part) == entry['sha256']:
            return
        part.unlink()
        # what was there before may have been the fault: once more, from the first byte
        if again or not resumed or source.kind != 'http':
            break
    raise SourceError('sent bytes of another sha256 or size than the card says')


def _room(part: Path, size: int) -> None:
    have = part.stat().st_size if part.is_file() else 0
    free = shutil.disk_usage(part.parent).free
    if free < size - have:
        raise _full(part, f'{(size - have) / 1e6:.1f} MB are needed and {free / 1e6:.1f} MB free')


def _full(part: Path, why: str) -> DiskFullError:
    return DiskFullError(f'No room in {part.parent} ({why}): free some, choose another folder with --dest, or another cache '
                         'with the environment variable ZOO_CACHE.')


def _write_all(blocks: Iterator[bytes], part: Path, mode: str, seen: Callable[[int], None] | None = None) -> None:
    """Write blocks as they come; a full disk leaves no part behind."""
    try:
        with part.open(mode) as file:
            for block in blocks:
                file.write(block)
                if seen is not None:
                    seen(len(block))
    except OSError as error:
        if error.errno not in FULL:
            raise
        part.unlink(missing_ok=True)
        raise _full(part, error.strerror or 'the disk is full') from None


class _Broken(Exception):
    """The connection broke: worth another attempt."""


def transfer(url: str, part: Path, size: int, *, progress: Progress | None = None) -> None:
    """Complete ``part`` to ``size`` bytes over http(s), continuing where it stands; proxies by the usual variables.

    Args:
        url: the address; redirects are followed.
        part: what has been got so far, perhaps not there.
        size: bytes of the whole file; more are never read.
        progress: called with (bytes so far, size).

    Raises:
        SourceError: if the server refuses, offers another size, or breaks off too often.
        DiskFullError: if there is no room.
    """
    failures, furthest, why = 0, 0, ''
    for _ in range(MAX_ATTEMPTS):
        have = part.stat().st_size if part.is_file() else 0
        if have > size:
            part.unlink()
            have = 0
        if have == size and part.is_file():
            return
        try:
            _attempt(url, part, have, size, progress)
        except _Broken as error:
            why = str(error)
        reached = part.stat().st_size if part.is_file() else 0
        failures = 0 if reached > max(furthest, have) else failures + 1
        furthest = max(furthest, reached)
        if failures >= ATTEMPTS:
            break
        if failures:
            time.sleep(PAUSE * 2**(failures - 1))
    else:
        why = f'broke off {MAX_ATTEMPTS} times (last: {why})'
    if part.is_file() and part.stat().st_size == size:
        return
    raise SourceError(why or 'sent nothing')


def _attempt(url: str, part: Path, have: int, size: int, progress: Progress | None) -> None:
    """One request for what is missing, written to ``part`` as it comes.

    Raises:
        _Broken: if the connection failed.
    """
    headers = {'User-Agent': 'distillation-zoo', 'Accept-Encoding': 'identity'}
    if have:
        headers['Range'] = f'bytes={have}-'
    try:
        # a new opener: urlopen's own keeps the proxies of its first use
        answer = urllib.request.build_opener().open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # this server has another file, or the part is no beginning of it
            part.unlink()
            raise _Broken('cannot continue the transfer') from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Broken(f'{error.code} {error.reason}') from None
        raise SourceError(f'{error.code} {error.reason}') from None
    except (OSError, http.client.HTTPException) as error:
        raise _Broken(_words(error)) from None
    with answer:
        total, start = answer.headers.get('Content-Length'), 0
        if answer.headers.get('Content-Encoding', 'identity') != 'identity':
            raise SourceError(f'sends the file as {answer.headers["Content-Encoding"]}')
        if answer.status == 206:
            unit, _, span = answer.headers.get('Content-Range', '').partition(' ')
            first, total = span.partition('-')[0], span.rpartition('/')[2]
            if unit != 'bytes' or not first.isdigit() or int(first) != have:
                part.unlink(missing_ok=True)
                raise _Broken('answers with another range than was asked for')
            start = have
        if total is not None and total.isdigit() and int(total) != size:
            raise SourceError(f'offers {int(total):,} bytes where the card says {size:,}')

        def blocks() -> Iterator[bytes]:
            left = size - start
            while left:
                try:
                    block = answer.read(min(BLOCK, left))
                except (OSError, http.client.HTTPException) as error:
                    raise _Broken(_words(error)) from None
                if not block:
                    raise _Broken('broke off')
                left -= len(block)
                yield block

        done = start

        def seen(count: int) -> None:
            nonlocal done
            done += count
            if progress is not None:
                progress(done, size)

        _write_all(blocks(), part, 'ab' if start else 'wb', seen)


def _words(error: BaseException) -> str:
    reason = getattr(error, 'reason', None) or error
    text = 'timed out' if isinstance(reason, TimeoutError) else str(reason) or type(reason).__name__
    return text.rstrip('.')


def _from_hugging_face(address: str, part: Path) -> None:
    """``hf://owner/repository[@revision]/path`` by huggingface_hub, which resumes by itself."""
    import huggingface_hub
    owner, _, rest = address.removeprefix('hf://').partition('/')
    repository, _, path = rest.partition('/')
    repository, _, revision = repository.partition('@')
    if not (owner and repository and path) or urlparse(address).query:
        raise SourceError('is no address of the form hf://owner/repository[@revision]/file')
    folder = part.with_name(f'{part.name}.hf')
    try:
        found = huggingface_hub.hf_hub_download(f'{owner}/{repository}', path, revision=revision or None, local_dir=folder)
        os.replace(found, part)
    except OSError as error:
        if error.errno in FULL:
            shutil.rmtree(folder, ignore_errors=True)
            raise _full(part, error.strerror or 'the disk is full') from None
        raise SourceError(_first_line(error)) from None
    except Exception as error:  # which errors its http client raises depends on its version
        raise SourceError(_first_line(error)) from None
    shutil.rmtree(folder, ignore_errors=True)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip('.') if lines else type(error).__name__
