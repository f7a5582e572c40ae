/**
 * For Prisma Studio, which reads its database from here. The URL comes by the environment, for the arguments of a
 * process can be read by every user of the machine. schema.prisma needs no such file.
 */
export default { datasource: { url: process.env["GUILDHALL_STUDIO_URL"] } };
