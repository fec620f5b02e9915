/** The part of `User` about memory that drivers pin: io_uring buffers, VFIO, iommufd, RDMA, AF_XDP. */
import { GupUser } from './user-gup.ts';

export class PinUser extends GupUser {}
