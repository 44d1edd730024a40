"""The real Picamera2 on libcamera's virtual camera, where there is no Raspberry Pi: import this first.

Three things are unlike a Pi's: the kernel lends no DMA buffers, so the frames lie in plain memory; the camera wants
luma and chroma named apart in them; and it has no raw stream.

It needs GLIBC_TUNABLES=glibc.malloc.perturb=255:glibc.malloc.tcache_count=0, which zeroes new memory: libcamera 0.4
leaves the status of the virtual camera's frames as it finds it, and zero is success.
"""

import mmap
import os

import libcamera
import picamera2.allocators.dmaallocator
import picamera2.picamera2
from picamera2.allocators import DmaAllocator
from picamera2.dma_heap import UniqueFD


class Memory:
    """In place of the kernel's heap of DMA buffers."""

    def alloc(self, name, size):
        descriptor = os.memfd_create(name)
        os.ftruncate(descriptor, size)
        return UniqueFD(descriptor)

    def close(self):
        pass


class Mapped:
    """In place of the system calls around each access to a DMA buffer."""

    def __init__(self, allocator, buffer, write):
        self._memory = allocator.mapped_buffers[buffer]

    def __enter__(self):
        return self._memory

    def __exit__(self, *_):
        pass

    def get_buffer(self):
        return self._memory


class MemoryAllocator(DmaAllocator):
    def __init__(self):
        super().__init__()
        self.sync = Mapped

    def allocate(self, libcamera_config, _):
        self.libcamera_fds = []
        self.cleanup()
        for descriptor in self.open_fds:
            os.close(descriptor)
        self.frame_buffers, self.open_fds = {}, []
        for stream in libcamera_config:
            buffers = [self._buffer(stream) for _ in range(stream.buffer_count)]
            self.frame_buffers[stream.stream] = buffers

    def _buffer(self, stream):
        descriptor = self.dmaHeap.alloc("frame", stream.frame_size).get()
        luma, chroma = libcamera.FrameBuffer.Plane(), libcamera.FrameBuffer.Plane()
        luma.fd = chroma.fd = descriptor
        luma.offset, luma.length = 0, stream.stride * stream.size.height
        chroma.offset, chroma.length = luma.length, stream.frame_size - luma.length
        buffer = libcamera.FrameBuffer([luma, chroma])
        self.open_fds.append(descriptor)
        self.libcamera_fds.append(buffer.planes[0].fd)
        self.mapped_buffers_used[buffer.planes[0].fd] = False
        self.mapped_buffers[buffer] = mmap.mmap(descriptor, stream.frame_size)
        return buffer


class VirtualPicamera2(picamera2.Picamera2):
    def _get_raw_modes(self):
        formats = self.camera.generate_configuration([libcamera.StreamRole.VideoRecording]).at(0).formats
        return [
            {"format": str(one), "size": (size.width, size.height)}
            for one in formats.pixel_formats
            for size in formats.sizes(one)
        ]


picamera2.allocators.dmaallocator.DmaHeap = Memory
picamera2.picamera2.DmaAllocator = MemoryAllocator
picamera2.Picamera2 = VirtualPicamera2
