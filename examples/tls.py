"""Whose certificates to trust: the root three ways, and a client certificate (mTLS). Run it to see which ways work."""

import os
import ssl

import gigachat_lite
from gigachat_lite import ConfigurationError, GigaChat, TLSError

ROOT = "corporate-ca.pem"  # the root certificate of your company or of its proxy
if not os.path.exists(ROOT):  # in its place the national root, which lies in the package
    ROOT = os.path.join(os.path.dirname(gigachat_lite.__file__), "russian_trusted_root_ca.pem")

context = ssl.create_default_context()  # the system's roots, and one more
context.load_verify_locations(cafile=ROOT)

WAYS = {
    "1. Ничего не указывать": {},  # for GigaChat's hosts the national root is trusted as it is
    "2. Файл с корневым сертификатом": {"ca_bundle_file": ROOT},  # PEM or DER, and no other roots
    "3. Свой ssl_context": {"ssl_context": context},
    "4. Сертификат клиента": {"cert_file": "client.pem", "key_file": "client.key"},  # key_file_password= too
}

for name, settings in WAYS.items():
    try:
        with GigaChat(**settings) as giga:
            print(f"{name}: {giga.config['base_url']} отвечает, моделей: {len(giga.get_models().data)}")
    except ConfigurationError as error:  # a file is missing, or is not what it should be
        print(f"{name}: не настроено: {error}")
    except TLSError as error:  # it says which host, which roots were in use and what to do
        print(f"{name}: не работает: {error}")
