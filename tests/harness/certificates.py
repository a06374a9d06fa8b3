"""A certificate authority of our own, for federation over TLS on loopback. Never for anything else."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = dt.timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Authority:
    """A key that signs server certificates, and the certificate that servers trust."""

    certificate_path: Path
    key_path: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        """The authority kept in `directory`, made at the first call."""
        authority = cls(directory / "ca.crt", directory / "ca.key")
        if not authority.certificate_path.exists():
            directory.mkdir(parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            name = _name("loopback authority")
            builder = (
                _builder(name, name, key)
                .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            )
            _write(key, builder.sign(key, hashes.SHA256()), authority.certificate_path, authority.key_path)
        return authority

    def issue(self, host: str, certificate_path: Path, key_path: Path) -> None:
        """Write a certificate and key for a loopback address or a name; overwrites."""
        issuer = x509.load_pem_x509_certificate(self.certificate_path.read_bytes())
        signer = serialization.load_pem_private_key(self.key_path.read_bytes(), password=None)
        if not isinstance(signer, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.key_path} is not a key that Authority.make wrote")
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            name: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        builder = (
            _builder(_name(host), issuer.subject, key)
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        _write(key, builder.sign(signer, hashes.SHA256()), certificate_path, key_path)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + _LIFE)
    )


def _write(
    key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, certificate_path: Path, key_path: Path
) -> None:
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
